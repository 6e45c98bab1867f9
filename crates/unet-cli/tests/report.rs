//! `report.html`, written by `unet train` and again by `unet report`: what it shows, the same bytes each time, and nothing of a file's name
//! that a browser would take for more than text.

mod support;

use support::{Desk, TINY};

/// Words between `<` and the next blank or `>`: the elements of a page, and what closes them.
fn elements(html: &str) -> Vec<&str> {
    html.split('<').skip(1).map(|rest| rest.split([' ', '>', '\n']).next().unwrap_or_default()).collect()
}

#[test]
fn a_report_is_written_again_with_all_that_it_shows_and_the_same_bytes() {
    let desk = Desk::with_run();
    let first = desk.text("run/report.html");
    for _ in 0..2 {
        std::fs::remove_file(desk.path("run/report.html")).expect("removed");
        let ended = desk.unet(&["report", "run"]);
        let path = std::path::Path::new("run").join("report.html");
        assert_eq!((ended.code, ended.out), (Some(0), format!("{}\n", path.display())), "{}", ended.err);
        assert!(desk.text("run/report.html") == first, "another page");
    }
    for part in [
        "Loss by epoch",
        "Validation scores by epoch",
        "Learning rate by epoch",
        "Gradient by epoch",
        "<polyline class=\"curve c0\"",
        "Precision by recall",
        "<figcaption>Confusion matrix</figcaption>",
        "<tr><th>true class</th>",
        "best epoch",
        "<h2>Configuration</h2>\n<pre>",
        "patch = 16\n",
        "<h2>Environment</h2>\n<pre>unet ",
        "<figcaption>3: Dice ",
        "src=\"data:image/png;base64,iVBORw0KGgo",
    ] {
        assert!(first.contains(part), "no '{part}' in\n{first}");
    }
    // Where the data has moved is said, or else it is an error that names it.
    std::fs::rename(desk.path("data"), desk.path("moved")).expect("renamed");
    desk.fails(&["report", "run"], &["data"]);
    let ended = desk.unet(&["report", "run", "moved"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(desk.text("run/report.html") == first);
    desk.fails(&["report", "nowhere"], &["nowhere"]);
}

/// Guards against names of files that run in the reader's browser.
#[cfg(unix)]
#[test]
fn names_of_images_folders_and_runs_stay_text() {
    const HOSTILE: &str = "<script>alert(1)<img src=x onerror=alert(2)>&\"'";
    let desk = Desk::new();
    desk.write("tiny.toml", TINY);
    let (data, run) = (format!("data {HOSTILE}"), format!("run {HOSTILE}"));
    desk.dataset(&data);
    for folder in ["image", "label"] {
        for name in desk.list(&format!("{data}/{folder}")) {
            let path = |name: &str| desk.path(&format!("{data}/{folder}/{name}"));
            std::fs::rename(path(&name), path(&format!("{HOSTILE}{name}"))).expect("renamed");
        }
    }
    let ended = desk.unet(&["train", &data, "--config", "tiny.toml", "--val", "2..4", "--out", &run]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let html = desk.text(&format!("{run}/report.html"));
    let escaped = "&lt;script&gt;alert(1)&lt;img src=x onerror=alert(2)&gt;&amp;&quot;&#39;";
    for shown in [
        format!("<title>run {escaped}</title>"),
        format!("<h1>run {escaped}</h1>"),
        format!("A U-Net trained on data {escaped},"),
        format!("<figcaption>{escaped}3: Dice "),
        format!("<img alt=\"{escaped}3\" src=\"data:image/png;base64,"),
    ] {
        assert!(html.contains(&shown), "no '{shown}'");
    }
    assert!(!html.contains(HOSTILE) && !html.contains("<script") && !html.contains("<img src"));
    // Nothing but what the page itself is made of.
    let plain = Desk::with_run().text("run/report.html");
    let of_pages = elements(&plain);
    let foreign = elements(&html).into_iter().find(|element| !of_pages.contains(element));
    assert_eq!(foreign, None);
    let images = html.matches("<img ").count();
    assert_eq!((images, html.matches(" src=\"data:image/png;base64,").count()), (2, 2));
}

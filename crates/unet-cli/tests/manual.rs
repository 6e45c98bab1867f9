//! What shells complete and what `man` shows is what the program takes: every command, and every option that its help knows.

mod support;

use std::process::Command;

use support::Desk;

/// Commands, as the help lists them.
fn commands(desk: &Desk) -> Vec<String> {
    let help = desk.unet(&["--help"]).out;
    let listed = help.lines().skip_while(|l| !l.starts_with("Commands:")).skip(1).take_while(|l| !l.is_empty());
    // Lines that go on are indented further.
    let names = listed.filter_map(|l| l.strip_prefix("  ")).filter(|l| !l.starts_with(' '));
    let names: Vec<String> = names.filter_map(|l| l.split_whitespace().next().map(str::to_owned)).collect();
    assert!(names.len() > 8 && names.contains(&"completions".to_owned()), "{names:?}");
    names.into_iter().filter(|n| n != "help").collect()
}

/// Long options of a command, as its help lists them.
fn options(desk: &Desk, command: &str) -> Vec<String> {
    let help = desk.unet(&[command, "--help"]).out;
    let words = help.lines().filter(|l| l.trim_start().starts_with('-')).filter_map(|l| {
        let at = l.find("--")?;
        Some(l[at..].split(|c: char| !(c.is_alphanumeric() || c == '-')).next()?.to_owned())
    });
    words.collect()
}

#[test]
fn shells_complete_every_command_and_option() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = desk.unet(&["completions", shell]);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        for command in commands(&desk) {
            assert!(ended.out.contains(&command), "{shell}: no {command}");
            for option in options(&desk, &command) {
                // fish writes `-l name`.
                let bare = option.trim_start_matches('-');
                let found = ended.out.contains(&option) || ended.out.contains(&format!("-l {bare}"));
                assert!(found, "{shell}: no {option} of {command}");
            }
        }
    }
    assert_eq!(desk.unet(&["completions", "tcsh"]).code, Some(2));
}

#[test]
fn bash_reads_its_script() {
    let desk = Desk::new();
    desk.write("unet.bash", desk.unet(&["completions", "bash"]).out);
    let Ok(read) = Command::new("bash").arg("-c").current_dir(desk.path("")).arg(COMPLETE).output() else {
        println!("skipped: no bash here");
        return;
    };
    let words = String::from_utf8_lossy(&read.stdout);
    assert!(
        words.contains("--batch-size") && words.contains("--folds"),
        "{words}{}",
        String::from_utf8_lossy(&read.stderr)
    );
}

/// Asks for what may follow `unet train --`, as bash does when Tab is pressed.
const COMPLETE: &str =
    "source ./unet.bash && COMP_WORDS=(unet train --) COMP_CWORD=2 && _unet unet -- train && echo \"${COMPREPLY[@]}\"";

#[test]
fn every_command_has_a_manual_page_with_its_options() {
    let desk = Desk::new();
    let ended = desk.unet(&["man", "man/man1"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let pages = desk.list("man/man1");
    assert_eq!(ended.out.lines().count(), pages.len());
    assert!(desk.text("man/man1/unet.1").contains("unet\\-train(1)"), "{}", desk.text("man/man1/unet.1"));
    for command in commands(&desk) {
        let page = desk.text(&format!("man/man1/unet-{command}.1")).replace("\\-", "-");
        assert!(page.contains("Examples:"), "{command}: {page}");
        for option in options(&desk, &command) {
            assert!(page.contains(&option), "{command}: no {option}");
        }
    }
    desk.write("file", "");
    desk.fails(&["man", "file/below"], &["file/below", "cannot create"]);
}

//! The whole way as a user types it: train, predict, evaluate, inspect, once more; what is written, printed and never overwritten.

mod support;

use serde_json::Value;
use support::{Desk, IMAGES, SIZE, TINY, values_of};
use unet_data::codec::{read, write_tiff};
use unet_data::{Image, Pixels};

#[test]
fn train_predict_evaluate() {
    let desk = Desk::with_run();
    for file in ["config.toml", "metrics.jsonl", "checkpoints/best.safetensors", "checkpoints/last.state.safetensors"] {
        assert!(desk.path("run").join(file).is_file(), "{file}");
    }
    assert_eq!(desk.text("run/metrics.jsonl").lines().count(), 2);

    let ended = desk.unet(&["predict", "run", "data/image", "-o", "out", "--save", "mask,prob,overlay"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""), "{}", ended.err);
    assert_eq!(desk.list("out").len(), 3 * IMAGES);
    let (size, values) = values_of(&desk.path("out/2_mask.png"));
    assert_eq!(size, SIZE);
    assert!(values.iter().all(|v| [0, 255].contains(v)), "{values:?}");

    let ended = desk.unet(&["evaluate", "run", "data", "--on", "val", "--json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let of_model: Value = serde_json::from_str(&ended.out).expect("one JSON document");
    assert_eq!((of_model["images"].as_u64(), of_model["per_image"][0]["id"].as_str()), (Some(1), Some("3")));
    let accuracy = of_model["pixel_accuracy"].as_f64().expect("a number");
    assert!((0.0..=1.0).contains(&accuracy));
    let table = desk.unet(&["evaluate", "run", "data", "--on", "val"]);
    assert!(table.out.contains(&format!("pixel accuracy {accuracy:.4}")), "{}", table.out);

    // A picture under a name that says something else opens in no viewer.
    let drawn = desk.unet(&["evaluate", "run", "data", "--on", "val", "--curve", "curve.svg"]);
    assert!(drawn.code == Some(0) && desk.text("curve.svg").starts_with("<svg"), "{}", drawn.err);
    desk.fails(&["evaluate", "run", "data", "--curve", "curve.png"], &["SVG", "curve.svg"]);

    // Finished files get the scores of the model that made them, from probabilities and from masks.
    let all = desk.unet(&["evaluate", "run", "data", "--json"]);
    let all: Value = serde_json::from_str(&all.out).expect("JSON");
    let own = all["threshold"].as_f64();
    for threshold in [own, None] {
        if threshold.is_none() {
            (0..IMAGES).for_each(|i| {
                std::fs::remove_file(desk.path(&format!("out/{i}_prob.tif"))).expect("it was there");
            });
        }
        // Files do not say at which threshold their model tells classes apart; masks need none.
        let at = format!("--threshold={}", own.expect("two classes have one"));
        let of_files = desk.unet(&["evaluate", "--pred", "out", "--truth", "data/label", "--json", &at]);
        let of_files: Value = serde_json::from_str(&of_files.out).expect("JSON");
        assert_eq!(of_files["per_class"], all["per_class"]);
        assert_eq!(of_files["isbi"]["curve"].as_array().map(Vec::len), Some(threshold.map_or(1, |_| 11)));
        assert!(threshold.is_none() || of_files["isbi"] == all["isbi"]);
        // Objects come of probabilities as `predict --save instances` makes them, of masks as connected parts.
        assert_eq!(of_files["objects"]["method"].is_null(), threshold.is_none());
        assert!(threshold.is_none() || of_files["objects"] == all["objects"], "{}", all["objects"]);
        assert_eq!(of_files["threshold"].as_f64(), threshold);
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_a_runs_configuration_repeats_it() {
    let desk = Desk::with_run();
    let ended = desk.unet(&["train", "--config", "run/config.toml", "--out", "again"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let bytes = |run: &str| std::fs::read(desk.path(run).join("checkpoints/best.safetensors")).expect("a checkpoint");
    assert!(bytes("run") == bytes("again"));
    let ended = desk.unet(&["train", "--config", "run/config.toml", "--seed", "1", "--out", "other"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(bytes("run") != bytes("other"));
}

#[test]
fn a_run_may_start_from_anothers_weights() {
    let desk = Desk::with_run();
    // A learning rate too small to move a 32-bit weight: what comes out is what went in, on average and at the end.
    let train =
        ["train", "data", "--config", "tiny.toml", "--init", "run", "--lr", "1e-30", "--epochs", "1", "--out", "next"];
    let ended = desk.unet(&train);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let weights = |run: &str| unet_train::Checkpoint::load(&desk.path(run)).expect("a checkpoint").model;
    let (old, new) = (weights("run"), weights("next"));
    for spec in old.params().trained() {
        let values = |m: &unet_model::UNet| m.params().to_vec(&spec.name).expect("it is there");
        let close = values(&old).iter().zip(values(&new)).all(|(a, b)| (a - b).abs() <= 1e-6 * a.abs());
        assert!(close, "{}", spec.name);
    }
    assert!(desk.text("next/config.toml").contains("init = \"run\""));
    let wider = [&train[..6], &["--width", "3", "--out", "wider"]].concat();
    desk.fails(&wider, &["run", "width 2", "width 3"]);
}

#[test]
fn a_run_from_anothers_weights_scales_values_as_that_one_did_unless_told_otherwise() {
    let desk = Desk::with_data();
    let train = ["train", "data", "--config", "tiny.toml", "--val", "3..4", "--epochs", "1", "--no-report"];
    let ended = desk.unet(&[&train[..], &["--normalization", "raw", "--out", "raw"]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let scaled = |arguments: &[&str]| {
        let printed = desk.unet(&[&train[..], &["--init", "raw", "--print-config"], arguments].concat());
        let line = printed.out.lines().find(|l| l.starts_with("normalization = ")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("{}", printed.err))
    };
    assert_eq!(scaled(&[]), "normalization = \"raw\"", "not the recipe's");
    assert_eq!(scaled(&["--normalization", "unit"]), "normalization = \"unit\"");
    desk.write("tiny.toml", TINY.replace("patch = 16", "patch = 16\nnormalization = 'percentile'"));
    assert_eq!(scaled(&[]), "normalization = \"percentile\"");
    let ended = desk.unet(&[&train[..], &["--init", "raw", "--out", "next"]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.err.contains("scaled by 'raw', this run scales by 'percentile'"), "{}", ended.err);
}

#[test]
fn a_run_that_stopped_early_is_finished() {
    let desk = Desk::with_data();
    desk.write("tiny.toml", format!("{}min_delta = 1e9\npatience = 2\n", TINY));
    let train = ["train", "data", "--config", "tiny.toml", "--val", "3..4", "--epochs", "9", "--no-report"];
    let ended = desk.unet(&[&train[..], &["--out", "run"]].concat());
    assert!(ended.code == Some(0) && ended.err.contains("no epoch got better any more"), "{}", ended.err);
    let text = desk.unet(&["inspect", "run"]).out;
    assert!(text.contains("3 of 9 done, and no epoch got better any more"), "{text}");
    assert!(!text.contains("--resume"), "{text}");
    let json: Value = serde_json::from_str(&desk.unet(&["inspect", "run", "--json"]).out).expect("JSON");
    assert_eq!(json["finished"], true);
}

#[test]
fn a_pipe_gets_plain_lines_and_stdout_only_results() {
    let desk = Desk::with_data();
    let ended = desk.unet(&["train", "data", "--config", "tiny.toml"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""), "{}", ended.err);
    assert!(ended.err.starts_with("Data: data\nRun:  runs"), "{}", ended.err);
    assert!(ended.err.contains("1/2") && ended.err.contains("Done: 4 steps"), "{}", ended.err);
    assert!(!ended.err.contains('\x1b') && !ended.err.contains('\r'), "{:?}", ended.err);

    let printed = desk.unet(&["train", "data", "--config", "tiny.toml", "--print-config"]);
    assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""));
    assert_eq!(printed.out, desk.text("runs/data-quick/config.toml"));
}

#[test]
fn a_run_is_never_overwritten() {
    let desk = Desk::with_data();
    for _ in 0..2 {
        assert_eq!(desk.unet(&["train", "data", "--config", "tiny.toml"]).code, Some(0));
    }
    assert_eq!(desk.list("runs"), ["data-quick", "data-quick-2"]);
    let before = desk.text("runs/data-quick/metrics.jsonl");
    let train = ["train", "data", "--config", "tiny.toml", "--out", "runs/data-quick"];
    desk.fails(&train, &["runs/data-quick", "never overwritten", "--resume"]);
    assert_eq!(desk.text("runs/data-quick/metrics.jsonl"), before);
    // Nothing is left to do in a finished run: that is no failure, so that a job may be started again blindly.
    let ended = desk.unet(&["train", "--resume", "runs/data-quick"]);
    assert!(ended.code == Some(0) && ended.err.contains("Done: 4 steps"), "{}", ended.err);
    assert_eq!(desk.text("runs/data-quick/metrics.jsonl"), before);
}

#[test]
fn predictions_are_kept_without_force_and_never_read_as_images() {
    let desk = Desk::with_run();
    let predict = ["predict", "run", "data/image", "-o", "data/image"];
    assert_eq!(desk.unet(&predict).code, Some(0));
    desk.write("data/image/0_mask.png", "mine");
    desk.fails(&predict, &["0_mask.png", "exists already", "--force"]);
    assert_eq!(desk.text("data/image/0_mask.png"), "mine");

    let ended = desk.unet(&["predict", "run", "data/image", "-o", "data/image", "--force"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(desk.list("data/image").len(), 2 * IMAGES, "no mask of a mask");
    assert_eq!(values_of(&desk.path("data/image/0_mask.png")).0, SIZE);
}

#[test]
fn two_images_of_one_name_do_not_share_a_mask() {
    let desk = Desk::with_run();
    desk.png("more/0.png", &support::gray(SIZE, 9));
    let error = desk.fails(&["predict", "run", "data/image/0.png", "more/0.png", "-o", "out"], &["0_mask.png"]);
    assert!(error.contains("more") && error.contains("two folders"), "{error}");
    assert!(!desk.path("out").exists());
}

#[test]
fn predictions_of_a_run_lie_in_it_unless_told_otherwise() {
    let desk = Desk::with_run();
    let ended = desk.unet(&["predict", "run/checkpoints/last.safetensors", "data/image/1.png"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(desk.list("run/predictions"), ["1_mask.png"]);
    std::fs::copy(desk.path("run/checkpoints/best.safetensors"), desk.path("m.safetensors")).expect("copied");
    desk.fails(&["predict", "m.safetensors", "data/image/1.png"], &["m.safetensors", "-o DIR"]);
    desk.fails(&["evaluate", "m.safetensors", "data", "--on", "val"], &["m.safetensors", "--on all"]);
}

#[test]
fn inspect_says_what_things_are() {
    let desk = Desk::with_run();
    for (target, kind) in [("data", "data"), ("run", "run"), ("run/checkpoints/last.safetensors", "model")] {
        let text = desk.unet(&["inspect", target]);
        assert_eq!((text.code, text.err.as_str()), (Some(0), ""), "{target}");
        assert!(text.out.contains(target), "{}", text.out);
        let json = desk.unet(&["inspect", target, "--json"]);
        let json: Value = serde_json::from_str(&json.out).expect("one JSON document");
        assert_eq!(json["kind"], kind);
    }
    let json: Value = serde_json::from_str(&desk.unet(&["inspect", "data", "--json"]).out).expect("JSON");
    assert_eq!((json["images"].as_u64(), json["sizes"][0]["width"].as_u64()), (Some(4), Some(45)));
    let run: Value = serde_json::from_str(&desk.unet(&["inspect", "run", "--json"]).out).expect("JSON");
    assert_eq!((run["finished"].as_bool(), run["epochs"].as_array().map(Vec::len)), (Some(true), Some(2)));
    // The memory of a run is what it announced, and what is said of the same settings without training.
    let inspect = ["inspect", "data", "--config", "run/config.toml"];
    let json: Value = serde_json::from_str(&desk.unet(&[&inspect[..], &["--json"]].concat()).out).expect("JSON");
    let bytes = json["memory_bytes"].as_u64().expect("a number");
    let parts = json["memory_parts"].as_object().expect("parts").values().map(|v| v.as_u64().expect("bytes")).sum();
    assert!(bytes > parts && parts > 0, "{json}");
    assert_eq!((&run["memory_bytes"], &run["memory_parts"]), (&json["memory_bytes"], &json["memory_parts"]));
    let again = desk.unet(&["train", "--config", "run/config.toml", "--log-format", "json", "--out", "again"]);
    let start: Value = serde_json::from_str(again.err.lines().next().expect("a line")).expect("JSON");
    assert_eq!(start["memory_bytes"].as_u64(), Some(bytes));
    for target in [&["inspect", "run"][..], &inspect] {
        let text = desk.unet(target).out;
        assert!(text.contains(&format!("about {} MiB to train it", bytes >> 20)), "{text}");
    }
    let json: Value = serde_json::from_str(&desk.unet(&["inspect", "--cpu", "--json"]).out).expect("JSON");
    assert_eq!((&json["tiers"][0]["tier"], &json["tiers"][0]["supported"]), (&"portable".into(), &true.into()));
}

#[test]
fn wrong_usage_is_status_2_and_help_is_status_0() {
    let desk = Desk::new();
    for wrong in [&["train", "--no-such-flag"][..], &["predict", "run"], &["evaluate"], &["inspect"], &["dance"]] {
        let ended = desk.unet(wrong);
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{wrong:?}");
        assert!(ended.err.contains("--help"), "{}", ended.err);
    }
    for command in ["train", "predict", "evaluate", "inspect"] {
        let ended = desk.unet(&[command, "--help"]);
        assert_eq!(ended.code, Some(0));
        assert!(ended.out.contains("Examples:"), "{command}");
    }
}

#[test]
fn a_tier_is_forced_tried_and_refused() {
    let desk = Desk::new();
    let ended = desk.unet(&["inspect", "--cpu", "--json", "--tier", "portable"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let json: Value = serde_json::from_str(&ended.out).expect("JSON");
    assert_eq!(json["used"], "portable");
    let portable = &json["tiers"][0];
    assert_eq!((&portable["tier"], &portable["failed"]), (&"portable".into(), &serde_json::json!([])));
    assert!(portable["self_tests"].as_u64().expect("a number") > 50, "{json}");
    let ended = desk.unet(&["inspect", "--cpu", "--tier", "sse9"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("sse9") && ended.err.contains("portable"), "{}", ended.err);
}

#[test]
fn an_examination_goes_on_where_training_stops() {
    let desk = Desk::with_data();
    std::fs::remove_file(desk.path("data/label/2.png")).expect("removed");
    desk.fails(&["train", "data", "--config", "tiny.toml", "--out", "run"], &["without a mask", "2.png"]);
    let ended = desk.unet(&["inspect", "data"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    for part in ["1 image(s) without a mask", "image/2.png", "NAME_mask", "class 255"] {
        assert!(ended.out.contains(part), "no '{part}' in\n{}", ended.out);
    }
}

/// Guards against files that are read otherwise than the configuration says.
#[test]
fn an_examination_reads_files_as_its_configuration_says() {
    let desk = Desk::with_data();
    let (w, h) = SIZE;
    let page = |values: Vec<u8>| Image::new(w, h, 1, Pixels::U8(values)).expect("a page");
    for i in 0..IMAGES {
        // A third value in the masks, and images whose pages are channels.
        let mask = read(&desk.path(&format!("data/label/{i}.png"))).expect("a mask").to_f32();
        let mask = mask.into_iter().enumerate().map(|(p, v)| if p < w { 7 } else { v as u8 }).collect();
        desk.png(&format!("data/label/{i}.png"), &page(mask));
        let pages = [40, 50].map(|v| page((0..w * h).map(|p| v + (p % 31) as u8).collect()));
        write_tiff(&desk.path(&format!("data/image/{i}.png")), &pages).expect("written");
    }
    let inspect = |data: &str, more: &[&str]| -> Value {
        desk.write("read.toml", TINY.replace("[data]", &format!("[data]\n{data}")));
        let ended = desk.unet(&[&["inspect", "data", "--config", "read.toml", "--json"], more].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        serde_json::from_str(&ended.out).expect("JSON")
    };
    let of = |json: &Value| {
        let classes = json["classes"].as_array().expect("classes").iter().filter_map(|c| c["value"].as_u64());
        (json["channels"].as_u64(), classes.collect::<Vec<_>>(), json["ignored_pixels"].as_u64())
    };
    let ignored = (IMAGES * w) as u64;
    let json = inspect("axes = 'channels'\nignore = '7'", &[]);
    assert_eq!(of(&json), (Some(2), vec![0, 255], Some(ignored)));
    let json = inspect("axes = 'slices'\nignore = '255'", &["--axes", "channels", "--ignore", "7"]);
    assert_eq!(of(&json), (Some(2), vec![0, 255], Some(ignored)), "what is typed comes before the file");
    let json = inspect("axes = 'channels'\nmask_threshold = 100.0", &[]);
    assert_eq!(of(&json).1.len(), 2);
    for i in 0..IMAGES {
        let layers = [1, 2].map(|k| page((0..w * h).map(|p| u8::from(p % w > k * 9)).collect()));
        write_tiff(&desk.path(&format!("data/label/{i}.png")), &layers).expect("written");
    }
    let json = inspect("axes = 'channels'\nmulti_label = true", &[]);
    assert_eq!(of(&json).1.len(), 2, "{json}");
    let ended = desk.unet(&["inspect", "data", "--config", "read.toml"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
}

#[test]
fn what_masks_hold_is_remembered_where_the_environment_says() {
    let desk = Desk::with_data();
    let inspect = |cache: &str| {
        let ended =
            desk.command(&["inspect", "data", "--recipe", "quick"]).env("UNET_CACHE", cache).output().expect("it runs");
        assert!(ended.status.success());
        ended.stdout
    };
    let nowhere = inspect("");
    assert!(!desk.path("cache").exists());
    assert_eq!([inspect("cache"), inspect("cache")], [nowhere.clone(), nowhere]);
    assert_eq!(desk.list("cache").len(), 1);
    assert_eq!(desk.list("data"), ["image", "label"], "nothing is written beside the data");
}

#[test]
fn finished_masks_are_scored_without_ignored_pixels() {
    let desk = Desk::new();
    let write = |name: &str, values: &[u8]| {
        desk.png(name, &Image::new(4, 2, 1, Pixels::U8(values.to_vec())).expect("an image"));
    };
    write("truth/0.png", &[0, 0, 1, 1, 99, 99, 1, 0]);
    write("pred/0.png", &[0, 0, 1, 1, 1, 0, 0, 0]);
    let accuracy = |flags: &[&str]| {
        let ended = desk.unet(&[&["evaluate", "--pred", "pred", "--truth", "truth", "--json"], flags].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        serde_json::from_str::<Value>(&ended.out).expect("JSON")["pixel_accuracy"].as_f64()
    };
    assert_eq!(accuracy(&["--ignore", "99"]), Some(5.0 / 6.0));
    assert_eq!(accuracy(&["--mask-threshold", "1"]), Some(0.75));
    let ended = desk.unet(&["evaluate", "run", "data", "--ignore", "99"]);
    assert_eq!(ended.code, Some(2), "a model brings its own");
}

#[test]
fn training_gives_the_same_bits_on_one_thread_and_on_two() {
    let desk = Desk::with_data();
    let settings = TINY.replace("threads = 1\n", "").replace("patch = 16", "patch = 16\nshuffle = true");
    desk.write("free.toml", settings);
    for threads in ["1", "2"] {
        let run = format!("run{threads}");
        let ended = desk.unet(&[
            "train",
            "data",
            "--config",
            "free.toml",
            "--val",
            "3..4",
            "--threads",
            threads,
            "--out",
            &run,
        ]);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
    }
    let read = |run: &str| std::fs::read(desk.path(run).join("checkpoints/last.safetensors")).expect("a checkpoint");
    assert!(read("run1") == read("run2"), "the weights depend on the number of threads");
}

//! What users get wrong: each an error that names the file, what was found and what to do, and never a panic.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use common::{config, run, stack, stop_after};
use unet_data::{ClassTable, DataError, Dataset, Image, MaskOptions, Pixels, Sample, open_images};
use unet_train::checkpoint::RunDir;
use unet_train::predict::{Existing, OutputOptions, parse_outputs, predict_files};
use unet_train::{
    Checkpoint, PredictOptions, Predictor, TrainError, Trainer, evaluate_predictions, evaluate_predictions_as,
};

/// A finished run of one epoch.
fn trained() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.train.epochs = 1;
    run(config, stack(64), dir.path()).unwrap();
    dir
}

fn open_error(path: &Path) -> String {
    Predictor::open(path, PredictOptions::default()).unwrap_err().to_string()
}

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "'{part}' is missing in: {text}");
    }
}

#[test]
fn checkpoints_that_are_none() {
    let dir = trained();
    let good = std::fs::read(RunDir::new(dir.path()).best()).unwrap();
    let path = dir.path().join("x.safetensors");
    for length in [0, 4, 8, 100, good.len() / 2, good.len() - 1] {
        std::fs::write(&path, &good[..length]).unwrap();
        assert_says(&open_error(&path), &["x.safetensors"]);
    }
    std::fs::write(&path, b"a letter to my aunt, which is long enough to be no header").unwrap();
    assert_says(&open_error(&path), &["x.safetensors"]);
    let from = b"\\\"format\\\":1";
    let at = good.windows(from.len()).position(|w| w == from).unwrap();
    let mut newer = good.clone();
    newer[at + from.len() - 1] = b'9';
    std::fs::write(&path, newer).unwrap();
    assert_says(&open_error(&path), &["x.safetensors", "9"]);
    assert_says(&open_error(&dir.path().join("samples")), &["samples", "no checkpoint here", "run directory"]);
    assert_says(&open_error(&dir.path().join("nowhere")), &["nowhere"]);
}

#[test]
fn weights_without_a_description_are_not_guessed_at() {
    let dir = trained();
    let checkpoint = Checkpoint::load(dir.path()).unwrap();
    let path = dir.path().join("bare.safetensors");
    let (config, params) = (checkpoint.model.config(), checkpoint.model.params());
    unet_model::weights::save(&path, config, params, &serde_json::Value::Null).unwrap();
    assert_says(&open_error(&path), &["bare.safetensors", "normalisation", "import"]);
}

#[test]
fn states_that_are_none() {
    let dir = trained();
    let state = RunDir::new(dir.path()).state();
    let resume = || Trainer::resume(dir.path(), stack(64), vec![]).err().unwrap().to_string();
    let good = std::fs::read(&state).unwrap();
    for length in [0, 7, 64, good.len() - 1] {
        std::fs::write(&state, &good[..length]).unwrap();
        assert_says(&resume(), &["last.state.safetensors", "damaged"]);
    }
    std::fs::copy(RunDir::new(dir.path()).last(), &state).unwrap();
    assert_says(&resume(), &["last.state.safetensors", "description"]);
    std::fs::remove_file(&state).unwrap();
    assert_says(&resume(), &["missing", "without --resume"]);
}

#[test]
fn a_run_is_not_continued_on_other_data_nor_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    Trainer::new(config(), stack(64), dir.path(), vec![stop_after(1, &stop)]).unwrap().run(&stop).unwrap();
    let other = Arc::new(Few(stack(64)));
    let text = Trainer::resume(dir.path(), other, vec![]).err().unwrap().to_string();
    assert_says(&text, &["3 images", "4 images"]);
    let text = Trainer::new(config(), stack(64), dir.path(), vec![]).err().unwrap().to_string();
    assert_says(&text, &["holds a run already", "--resume"]);
}

/// One image fewer.
struct Few(Arc<dyn Dataset>);

impl Dataset for Few {
    fn name(&self) -> String {
        "few".to_owned()
    }
    fn len(&self) -> usize {
        self.0.len() - 1
    }
    fn id(&self, index: usize) -> String {
        self.0.id(index)
    }
    fn path(&self, index: usize) -> PathBuf {
        self.0.path(index)
    }
    fn size(&self, index: usize) -> Result<(usize, usize), DataError> {
        self.0.size(index)
    }
    fn channels(&self) -> usize {
        1
    }
    fn classes(&self) -> &ClassTable {
        self.0.classes()
    }
    fn load(&self, index: usize) -> Result<Sample, DataError> {
        self.0.load(index)
    }
    fn is_stack(&self) -> bool {
        true
    }
}

#[test]
fn images_unlike_the_models() {
    let dir = trained();
    let mut predictor = Predictor::open(dir.path(), PredictOptions::default()).unwrap();
    let rgb = Image::new(32, 32, 3, Pixels::U8(vec![0; 32 * 32 * 3])).unwrap();
    let text = predictor.predict(&rgb, Path::new("colour.png")).unwrap_err().to_string();
    assert_says(&text, &["colour.png", "3 channel", "takes 1"]);
    // Smaller than the network takes is no fault: its mirror image stands beyond its ends.
    let tiny = Image::new(32, 3, 1, Pixels::U8(vec![0; 96])).unwrap();
    assert_eq!(predictor.predict(&tiny, Path::new("tiny.png")).unwrap().labels.len(), 96);
    assert_says(&open_error_with_threshold(dir.path()), &["threshold", "1.5"]);
}

fn open_error_with_threshold(path: &Path) -> String {
    let options = PredictOptions { threshold: Some(1.5), ..PredictOptions::default() };
    Predictor::open(path, options).unwrap_err().to_string()
}

#[test]
fn an_output_folder_that_cannot_be_written_to_is_found_out_before_training() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let text = run(config(), stack(64), &file.join("run")).unwrap_err().to_string();
    assert_says(&text, &["run", "cannot create"]);
}

#[test]
fn a_failed_checkpoint_ends_the_run_and_leaves_the_previous_ones() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = RunDir::new(dir.path());
    let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (sink, state, best) = (Arc::clone(&kept), run_dir.state(), run_dir.best());
    // After the first epoch, a directory stands where the newest checkpoint has to go.
    let last = run_dir.last();
    let sabotage = move |event: &unet_train::observe::Event<'_>| {
        if let unet_train::observe::Event::Step(s) = event
            && s.step == 5
        {
            *sink.lock().unwrap() = std::fs::read(&best).unwrap();
            assert!(state.is_file());
            std::fs::remove_file(&last).unwrap();
            std::fs::create_dir_all(last.join("in the way")).unwrap();
        }
        Ok(())
    };
    let mut config = config();
    config.optimizer.set_lr(1e-12);
    config.data.val = "none".parse().unwrap();
    let error =
        Trainer::new(config, stack(64), dir.path(), vec![Box::new(sabotage)]).unwrap().run(&AtomicBool::new(false));
    assert_says(&error.unwrap_err().to_string(), &["last.safetensors"]);
    assert!(!kept.lock().unwrap().is_empty());
    Checkpoint::load(&run_dir.best()).unwrap();
    let litter = std::fs::read_dir(dir.path().join("checkpoints"))
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains(".part"));
    assert_eq!(litter.count(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_that_names_the_file() {
    use unet_train::observe::{EpochRecord, Event, JsonLines, Observer};
    let mut log = JsonLines::open(Path::new("/dev/full"), 0).unwrap_or_else(|e| panic!("{e}"));
    let record = EpochRecord {
        epoch: 1,
        step: 1,
        train_loss: 0.0,
        lr: 0.0,
        grad_norm: 0.0,
        val: None,
        best: false,
        seconds: 0.0,
        images_per_second: 0.0,
    };
    let text = log.on_event(&Event::Epoch(&record)).unwrap_err().to_string();
    assert_says(&text, &["/dev/full", "free some space"]);
}

/// A dataset whose third image is not a number.
struct Broken(Arc<dyn Dataset>);

impl Dataset for Broken {
    fn name(&self) -> String {
        "broken".to_owned()
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn id(&self, index: usize) -> String {
        self.0.id(index)
    }
    fn path(&self, index: usize) -> PathBuf {
        self.0.path(index)
    }
    fn size(&self, index: usize) -> Result<(usize, usize), DataError> {
        self.0.size(index)
    }
    fn channels(&self) -> usize {
        1
    }
    fn classes(&self) -> &ClassTable {
        self.0.classes()
    }
    fn load(&self, index: usize) -> Result<Sample, DataError> {
        let sample = self.0.load(index)?;
        if index < 2 {
            return Ok(sample);
        }
        let (w, h) = (sample.image.width(), sample.image.height());
        Ok(Sample { image: Image::new(w, h, 1, Pixels::F32(vec![f32::NAN; w * h]))?, ..sample })
    }
    fn is_stack(&self) -> bool {
        true
    }
}

#[test]
fn a_loss_that_is_no_number_stops_and_names_epoch_step_and_image() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.data.normalization = unet_train::config::NormalizationKind::Raw;
    config.data.val = "3..4".parse().unwrap();
    config.data.shuffle = false;
    config.data.patch = 0;
    config.data.samples_per_epoch = 0;
    config.train.batch_size = 1;
    config.augment = unet_data::AugmentConfig::none();
    let error = run(config, Arc::new(Broken(stack(64))), dir.path()).unwrap_err();
    assert!(
        matches!(&error, TrainError::NonFinite { what: "loss", epoch: Some(1), step: 3, kept: None, .. }),
        "{error}"
    );
    assert_says(
        &error.to_string(),
        &["loss became NaN", "epoch 1, step 3", "synthetic_002", "no checkpoint has been written"],
    );
}

#[test]
fn a_validation_loss_that_is_no_number_names_image_and_layer() {
    for cut in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config();
        config.data.normalization = unet_train::config::NormalizationKind::Raw;
        // Without padding an image is cut into what the network says something of.
        (config.model.valid, config.train.epochs) = (cut, 1);
        let mut spoilt = config.clone();
        spoilt.data.val = "2..4".parse().unwrap();
        let error = run(spoilt, Arc::new(Broken(stack(64))), &dir.path().join("a")).unwrap_err();
        let what = ["the validation loss became", "epoch 1, step 4 (images synthetic_002; first in input)"];
        assert_says(&error.to_string(), &[what[0], what[1], "train.non_finite"]);

        // Weights so large that logits are beyond what a float holds, in a model to start from.
        run(config.clone(), stack(64), &dir.path().join("b")).unwrap();
        let mut start = Checkpoint::load(&dir.path().join("b")).unwrap();
        for (name, value) in [("up2.conv.double_conv.4.bias", 1e3), ("outc.conv.weight", 3e38)] {
            start.model.params_mut().set(name, &[value; 4]).unwrap();
        }
        let path = dir.path().join("start.safetensors");
        Checkpoint::save(&path, &start.model, &start.meta).unwrap();
        config.model.init = Some(path);
        let error = run(config, stack(64), &dir.path().join("c")).unwrap_err();
        assert_says(&error.to_string(), &[what[0], "synthetic_003; first in outc.conv)"]);
    }
}

#[test]
fn a_loss_that_becomes_no_number_later_leaves_the_good_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.optimizer.set_lr(1e30);
    config.schedule = unet_train::Schedule::Constant {};
    config.train.ema_decay = 0.0;
    config.data.val = "none".parse().unwrap();
    config.data.samples_per_epoch = 2;
    config.train.epochs = 50;
    let error = run(config, stack(64), dir.path()).unwrap_err();
    let TrainError::NonFinite { epoch: Some(epoch), kept, .. } = &error else { panic!("{error}") };
    if *epoch > 1 {
        let kept = kept.as_ref().unwrap();
        assert_says(&error.to_string(), &["kept in", &kept.display().to_string()]);
        Checkpoint::load(kept).unwrap();
    }
}

#[test]
fn predictions_are_not_overwritten_and_never_collide() {
    let dir = trained();
    let inputs_dir = dir.path().join("in");
    std::fs::create_dir_all(inputs_dir.join("other")).unwrap();
    let image = stack(64).load(0).unwrap().image;
    unet_data::codec::write_png(&inputs_dir.join("a.png"), &image).unwrap();
    unet_data::codec::write_png(&inputs_dir.join("other/a.png"), &image).unwrap();
    let mut predictor = Predictor::open(dir.path(), PredictOptions::default()).unwrap();
    let outputs = parse_outputs("prob,overlay").unwrap();
    let mut options = OutputOptions::new(dir.path().join("out"), outputs);
    let inputs = open_images(&[inputs_dir.join("a.png")]).unwrap();
    let written = predict_files(&mut predictor, &inputs, &options, &mut |_| ()).unwrap();
    let names: Vec<String> =
        written[0].files.iter().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(names, ["a_mask.png", "a_prob.tif", "a_overlay.png"]);
    let text = predict_files(&mut predictor, &inputs, &options, &mut |_| ()).unwrap_err().to_string();
    assert_says(&text, &["a_mask.png", "--force"]);
    options.existing = Existing::Overwrite;
    predict_files(&mut predictor, &inputs, &options, &mut |_| ()).unwrap();
    let two = open_images(&[inputs_dir.join("a.png"), inputs_dir.join("other/a.png")]).unwrap();
    let text = predict_files(&mut predictor, &two, &options, &mut |_| ()).unwrap_err().to_string();
    assert_says(&text, &["a_mask.png", "two folders"]);
    assert_says(&parse_outputs("maks").unwrap_err().to_string(), &["maks", "did you mean mask"]);
}

#[test]
fn predictions_that_do_not_go_with_the_truth() {
    let dir = tempfile::tempdir().unwrap();
    let (pred, truth) = (dir.path().join("pred"), dir.path().join("truth"));
    std::fs::create_dir_all(&pred).unwrap();
    std::fs::create_dir_all(&truth).unwrap();
    let mask = |w: usize, h: usize| {
        Image::new(w, h, 1, Pixels::U8((0..w * h).map(|i| (i % 2 * 255) as u8).collect())).unwrap()
    };
    let write = |path: PathBuf, image: &Image| unet_data::codec::write_png(&path, image).unwrap();
    let error = |p: &Path| evaluate_predictions(p, &truth, 0.5).unwrap_err().to_string();
    assert_says(&error(&pred), &["truth", "no images"]);
    write(truth.join("1.png"), &mask(4, 4));
    write(truth.join("2.png"), &mask(4, 4));
    write(pred.join("1_mask.png"), &mask(4, 4));
    assert_says(&error(&pred), &["pred", "1 of the 2", "2"]);
    write(pred.join("2.png"), &mask(4, 5));
    assert_says(&error(&pred), &["2.png", "4×5", "4×4"]);
    write(pred.join("2.png"), &mask(4, 4));
    let report = evaluate_predictions(&pred, &truth, 0.5).unwrap();
    assert_eq!((report.images, report.pixels.pixel_accuracy, report.threshold), (2, Some(1.0), None));
    // Probabilities win over a mask of the same name.
    let prob = Image::new(4, 4, 1, Pixels::F32(vec![0.9; 16])).unwrap();
    unet_data::codec::write_tiff(&pred.join("1_prob.tif"), &[prob]).unwrap();
    let report = evaluate_predictions(&pred, &truth, 0.5).unwrap();
    assert_eq!((report.threshold, report.pixels.pixel_accuracy), (Some(0.5), Some(0.75)));
}

#[test]
fn ignored_and_smoothed_masks_are_scored_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (pred, truth) = (dir.path().join("pred.png"), dir.path().join("truth.png"));
    let write = |path: &Path, values: &[u8]| {
        unet_data::codec::write_png(path, &Image::new(4, 2, 1, Pixels::U8(values.to_vec())).unwrap()).unwrap();
    };
    let score = |ignore, threshold| {
        let masks = MaskOptions { ignore, threshold, ..MaskOptions::default() };
        evaluate_predictions_as(&pred, &truth, 0.5, masks).map(|r| r.pixels.pixel_accuracy)
    };
    // Wrong in one of six pixels that count.
    write(&truth, &[0, 0, 1, 1, 99, 99, 1, 0]);
    write(&pred, &[0, 0, 1, 1, 1, 0, 0, 0]);
    assert_eq!(score("99".parse().ok(), None).unwrap(), Some(5.0 / 6.0));
    // A prediction may leave out what the truth does, and nothing else.
    write(&pred, &[0, 0, 1, 1, 99, 0, 1, 0]);
    assert_eq!(score("99".parse().ok(), None).unwrap(), Some(1.0));
    write(&pred, &[99, 0, 1, 1, 99, 0, 1, 0]);
    assert_says(&score("99".parse().ok(), None).unwrap_err().to_string(), &["pred.png", "1 pixel(s)", "truth.png"]);
    write(&truth, &[3, 40, 220, 255, 0, 127, 128, 9]);
    write(&pred, &[0, 0, 255, 255, 0, 0, 0, 0]);
    assert_eq!(score(None, Some(128.0)).unwrap(), Some(7.0 / 8.0));
}

//! Plans of unlike datasets: each made of shapes that are drawn here, none known by name.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use unet_data::{ClassTable, DataError, Dataset, Image, LabelMap, Pixels, Sample, Sampler, Symmetry};
use unet_train::config::NormalizationKind;
use unet_train::loss::LossConfig;
use unet_train::objects::Arrangement;
use unet_train::predict::Augmentation;
use unet_train::{Means, Plan, RunConfig, TrainError, plan};

/// Images of one size, drawn by a function of image, column and row that yields a class.
struct Drawn {
    size: (usize, usize),
    images: usize,
    stack: bool,
    channels: usize,
    classes: ClassTable,
    /// A value of 255 in every so many pixels; 0 for none.
    hot: usize,
    /// What loading an image takes, as from a slow disk.
    slow: Duration,
    class: fn(usize, usize, usize) -> u8,
}

impl Drawn {
    fn new(size: (usize, usize), classes: u32, class: fn(usize, usize, usize) -> u8) -> Self {
        let values: Vec<u32> = (0..classes).collect();
        let classes = ClassTable::from_values(&values).unwrap();
        Self { size, images: 10, stack: false, channels: 1, classes, hot: 0, slow: Duration::ZERO, class }
    }

    fn plan(self, given: &str) -> Plan {
        self.within(Duration::from_secs(600), None, given).unwrap()
    }

    fn within(self, budget: Duration, memory: Option<u64>, given: &str) -> Result<Plan, TrainError> {
        let data: Arc<dyn Dataset> = Arc::new(self);
        let means = Means { memory, ..Means::within(budget) };
        plan(&data, RunConfig::recipe("auto").unwrap(), means, |c| c.overlaid(given, "given"))
    }
}

impl Dataset for Drawn {
    fn name(&self) -> String {
        "drawn".to_owned()
    }
    fn len(&self) -> usize {
        self.images
    }
    fn id(&self, index: usize) -> String {
        index.to_string()
    }
    fn path(&self, index: usize) -> PathBuf {
        PathBuf::from(index.to_string())
    }
    fn size(&self, _: usize) -> Result<(usize, usize), DataError> {
        Ok(self.size)
    }
    fn channels(&self) -> usize {
        self.channels
    }
    fn classes(&self) -> &ClassTable {
        &self.classes
    }
    fn load(&self, index: usize) -> Result<Sample, DataError> {
        std::thread::sleep(self.slow);
        let (w, h) = self.size;
        let labels: Vec<u8> = (0..w * h).map(|i| (self.class)(index, i % w, i / w)).collect();
        let noise = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7) as u8 % 16;
        let value = |i: usize, l: u8, c: usize| match self.hot {
            n if n > 0 && i.is_multiple_of(n) => 255,
            _ => 10 + 20 * l + noise(i * 3 + c),
        };
        let pixels = labels.iter().enumerate();
        let pixels = pixels.flat_map(|(i, l)| (0..self.channels).map(move |c| value(i, *l, c))).collect();
        let image = Image::new(w, h, self.channels, Pixels::U8(pixels))?;
        Ok(Sample { id: self.id(index), image, mask: Some(LabelMap::new(w, h, labels)?) })
    }
    fn is_stack(&self) -> bool {
        self.stack
    }
}

/// Lines of 5 pixels around cells of 40.
fn membranes(_: usize, x: usize, y: usize) -> u8 {
    u8::from(x % 40 >= 5 && y % 40 >= 5)
}

/// Discs of radius 9, one in 100×100 pixels, elsewhere in each image.
fn blobs(image: usize, x: usize, y: usize) -> u8 {
    let at = |v: usize, off: usize| ((v + off) % 100) as i64 - 50;
    u8::from(at(x, 41 * image).pow(2) + at(y, 67 * image).pow(2) <= 81)
}

/// Ground below, sky above, the horizon somewhere about the middle; a house on it.
fn street(image: usize, x: usize, y: usize) -> u8 {
    let horizon = 90 + 3 * (image % 5);
    match y {
        y if y > horizon => 2,
        y if y + 60 > horizon && x / 80 % 2 == 1 => 1,
        _ => 0,
    }
}

/// A network that is fast.
const TINY: &str = "model.width = 2\nmodel.depth = 2\ndata.patch = 32\ntrain.batch_size = 1\n";
const FIXED: &str = "train.epochs = 3\n";

fn why<'a>(plan: &'a Plan, what: &str) -> &'a str {
    &plan.choices.iter().find(|c| c.what == what).unwrap().why
}

#[test]
fn membranes_get_what_suits_thin_lines() {
    let c = Drawn { stack: true, ..Drawn::new((512, 512), 2, membranes) }.plan(FIXED).config;
    assert_eq!((c.data.patch, c.train.batch_size, c.model.depth), (256, 2, 4));
    assert_eq!(c.data.val.to_string(), "20%");
    assert_eq!((c.augment.symmetry, c.predict.tta), (Symmetry::D4, Augmentation::D4));
    assert!(c.augment.elastic_sigma > 0.0);
    // Cells are the common class: Dice is that of the membranes, which weigh more.
    let of_membranes = |loss: &LossConfig| match loss {
        LossConfig::DiceCe { pos_weight, classes, .. } => *pos_weight < 0.8 && classes == &[0],
        _ => false,
    };
    assert!(of_membranes(&c.loss), "{:?}", c.loss);
}

/// Discs as in `blobs`, of as many parts as there are cells in `membranes`, but nothing thin between them.
fn many_blobs(_: usize, x: usize, y: usize) -> u8 {
    u8::from((x % 64).abs_diff(32).pow(2) + (y % 64).abs_diff(32).pow(2) <= 81)
}

#[test]
fn what_a_thin_class_parts_is_learnt_by_pairs_too() {
    let of = |class, given: &str| Drawn::new((512, 512), 2, class).plan(&format!("{FIXED}model.width = 32\n{given}"));
    // Lines of 5 pixels: pairs reach over them, 7 apart, and three times as far.
    let plan = of(membranes, "");
    assert_eq!((&plan.config.affinity.distances[..], plan.config.affinity.class), (&[7, 21][..], 1));
    assert!(why(&plan, "pairs").contains("5.0 px apart"), "{}", why(&plan, "pairs"));
    // The same where the membranes are the second class.
    let turned = of(|i, x, y| 1 - membranes(i, x, y), "");
    assert_eq!((turned.config.affinity.distances.len(), turned.config.affinity.class), (2, 0));
    assert!(of(many_blobs, "").config.affinity.is_none() && of(blobs, "").config.affinity.is_none());
    let narrow = Drawn::new((512, 512), 2, membranes).plan(FIXED);
    assert!(narrow.config.affinity.is_none() && why(&narrow, "pairs").contains("narrow"), "{}", why(&narrow, "pairs"));
    let asked = of(membranes, "affinity.distances = []\n");
    assert!(asked.config.affinity.is_none() && why(&asked, "pairs") == "as you asked");
}

#[test]
fn objects_that_fill_the_images_are_known_by_it() {
    let of = |class, given: &str| Drawn::new((512, 512), 2, class).plan(&format!("{FIXED}{given}"));
    let plan = of(membranes, "");
    assert_eq!(plan.config.predict.objects, Arrangement::Packed { class: 1 });
    assert!(why(&plan, "objects").contains("76 % of the pixels in 169 parts"), "{}", why(&plan, "objects"));
    let turned = of(|i, x, y| 1 - membranes(i, x, y), "");
    assert_eq!(turned.config.predict.objects, Arrangement::Packed { class: 0 });
    // Dense, but with more between them than in them; few; of three classes.
    assert!(of(many_blobs, "").config.predict.objects.is_scattered());
    assert!(of(blobs, "").config.predict.objects.is_scattered());
    let street = Drawn { channels: 3, ..Drawn::new((320, 192), 3, street) }.plan(FIXED);
    assert!(street.config.predict.objects.is_scattered());
    let asked = of(membranes, "predict.objects.kind = 'scattered'\n");
    assert!(asked.config.predict.objects.is_scattered() && why(&asked, "objects") == "as you asked");
}

/// Guards against warps in a run that sees each place of the images a time or two.
#[test]
fn what_is_not_learnt_by_heart_is_not_warped() {
    let of = |epochs| Drawn { stack: true, ..Drawn::new((512, 512), 2, membranes) }.plan(epochs);
    // 50 steps an epoch, two patches of 256×256 a step, eight slices of 512×512: three passes are 48 steps.
    let (short, long) = (of("train.epochs = 1\ndata.samples_per_epoch = 60\n"), of("train.epochs = 2\n"));
    assert_eq!((short.config.augment.elastic_sigma, short.config.augment.scale), (0.0, 0.0));
    assert!(why(&short, "warps").contains("seen 1.9 times"), "{}", why(&short, "warps"));
    assert!(long.config.augment.elastic_sigma > 0.0 && long.config.augment.scale > 0.0);
    assert_eq!(short.choices.iter().filter(|c| c.what == "warps").count(), 1);
    // What is asked for stands.
    let asked = of("train.epochs = 1\ndata.samples_per_epoch = 60\naugment.elastic_sigma = 4.0\n");
    assert_eq!((asked.config.augment.elastic_sigma, why(&asked, "warps")), (4.0, "as you asked"));
}

#[test]
fn rare_blobs_are_searched_for_and_weighed() {
    let c = Drawn::new((400, 400), 2, blobs).plan(FIXED).config;
    assert_eq!(c.data.sampler, Sampler::Foreground { share: 0.5 });
    assert!(
        matches!(c.loss, LossConfig::DiceCe { pos_weight, ref classes, .. } if (3.0..=10.0).contains(&pos_weight) && classes.is_empty()),
        "{:?}",
        c.loss
    );
    assert!(c.data.val.to_string().starts_with("random:20%"));
}

/// Guards against slices in files of their own, of which some validate what their neighbours have trained.
#[test]
fn files_that_are_slices_are_held_out_in_a_block() {
    let creeping = |image: usize, x: usize, y: usize| blobs(0, x + 2 * image, y + image);
    let plan = Drawn::new((400, 400), 2, creeping).plan(FIXED);
    assert_eq!(plan.config.data.val.to_string(), "20%");
    assert!(why(&plan, "held out").contains("alike"));
}

#[test]
fn what_has_an_upper_end_is_not_turned_over() {
    let plan = Drawn { channels: 3, ..Drawn::new((320, 192), 3, street) }.plan(FIXED);
    let c = &plan.config;
    assert_eq!((c.augment.symmetry, c.predict.tta), (Symmetry::Mirror, Augmentation::None));
    assert!(c.augment.rotate_degrees <= 10.0 && c.augment.elastic_sigma == 0.0);
    assert_eq!(c.data.patch, 192, "no larger than the images: {}", why(&plan, "patch"));
    assert!(matches!(&c.loss, LossConfig::DiceCe { class_weights, .. } if class_weights.len() == 3), "{:?}", c.loss);
    // A stack is one specimen: what lies low in all of its slices is one thing in one place.
    let stack = Drawn { stack: true, ..Drawn::new((320, 192), 3, street) }.plan(FIXED).config;
    assert_eq!(stack.augment.symmetry, Symmetry::D4);
}

#[test]
fn hot_pixels_are_a_reason_to_scale_by_percentiles() {
    let plan = |hot| Drawn { hot, ..Drawn::new((256, 256), 2, membranes) }.plan(FIXED);
    let of_hot = plan(5000);
    assert_eq!(of_hot.config.data.normalization, NormalizationKind::Percentile);
    let reason = why(&of_hot, "values");
    assert!(reason.contains("far from all others") && reason.contains("the farthest is 255"), "{reason}");
    for usual in [0, 100] {
        assert_eq!(plan(usual).config.data.normalization, NormalizationKind::MeanStd, "one in {usual} is 255");
    }
    let given = format!("{FIXED}data.normalization = 'mean_std'\n");
    let asked = Drawn { hot: 5000, ..Drawn::new((256, 256), 2, membranes) }.plan(&given);
    assert_eq!(why(&asked, "values"), "as you asked");
}

#[test]
fn small_images_get_small_patches_and_shallow_networks() {
    let c = Drawn::new((48, 40), 2, membranes).plan(FIXED).config;
    assert_eq!((c.data.patch, c.model.depth, c.train.batch_size), (32, 2, 16));
    let c = Drawn { images: 1, ..Drawn::new((48, 40), 2, membranes) }.plan(FIXED).config;
    assert_eq!(c.data.val.to_string(), "none", "a single image is trained on");
}

#[test]
fn what_is_given_stands_and_the_rest_goes_with_it() {
    let given = "data.patch = 64\ntrain.epochs = 2\nmodel.width = 8\nloss.kind = 'dice'\ndata.val = '2..4'\n";
    let plan = Drawn::new((512, 512), 2, membranes).plan(given);
    let c = &plan.config;
    assert_eq!((c.data.patch, c.train.epochs, c.model.width), (64, 2, 8));
    assert!(matches!(c.loss, LossConfig::Dice { .. }));
    assert_eq!(c.train.batch_size, 16, "as many pixels as two large patches");
    for what in ["patch", "loss", "held out", "steps"] {
        assert_eq!(why(&plan, what), "as you asked", "{what}");
    }
    assert_ne!(why(&plan, "batch"), "as you asked");
    let c = Drawn::new((64, 64), 2, membranes).plan("train.epochs = 2\ntrain.ema_decay = 0.0\n").config;
    assert_eq!((c.train.ema_decay, c.train.ema_norm_batches), (0.0, 0), "no average, nothing to recalibrate");
}

#[test]
fn the_same_data_gives_the_same_plan_and_its_file_is_all_of_it() {
    let once = Drawn::new((128, 128), 2, blobs).plan(FIXED);
    let again = Drawn::new((128, 128), 2, blobs).plan(FIXED);
    assert_eq!((&once.config, &once.choices), (&again.config, &again.choices));
    let text = once.config.to_toml().unwrap();
    assert!(text.contains("[why]"));
    assert_eq!(RunConfig::from_toml(&text, "run.toml", None).unwrap(), once.config);
    assert!(once.config.is_all_in(&text, "run.toml").unwrap(), "nothing is left to plan");
    assert!(!once.config.is_all_in(FIXED, "run.toml").unwrap());
}

#[test]
fn more_time_makes_more_steps() {
    let steps = |seconds| {
        let drawn = Drawn::new((640, 640), 2, membranes);
        let c = drawn.within(Duration::from_secs(seconds), None, TINY).unwrap().config;
        assert!(c.warmup.steps > 0 && c.train.ema_decay > 0.0);
        c.train.epochs * c.data.samples_per_epoch as u64
    };
    // Forty times the time: even on a machine that is busy at one moment and idle at the next.
    assert!(steps(400) > 2 * steps(10));
}

#[test]
fn no_run_goes_through_the_images_so_often_that_it_learns_them_by_heart() {
    let of = |size, given: &str| {
        let given = format!("{TINY}{given}");
        let plan = Drawn::new(size, 2, membranes).within(Duration::from_secs(7200), None, &given).unwrap();
        let batches = plan.config.train.epochs * plan.config.data.samples_per_epoch as u64;
        assert!(why(&plan, "steps").contains("by heart"), "{}", why(&plan, "steps"));
        batches
    };
    // Eight images of 64×64 are 32 patches of 32×32: 42 times these are fewer than 2000.
    assert!((1900..=2000).contains(&of((64, 64), "")));
    assert!((3800..=4000).contains(&of((64, 64), "train.accumulate = 2\n")), "steps, not batches");
    // Of 128×128 they are 128: 5376 batches.
    assert!((5200..=5376).contains(&of((128, 128), "")));
    // What is asked for stands.
    let asked = Drawn::new((64, 64), 2, membranes).plan("train.epochs = 100\n").config;
    assert_eq!(asked.train.epochs, 100);
}

/// Guards against steps that are taken for as slow as the first ones, which wait for images that a run loads only once.
#[test]
fn slow_files_are_waited_for_once_not_at_every_step() {
    let steps = |seconds| {
        let given = "model.width = 2\nmodel.depth = 2\ndata.patch = 32\ntrain.batch_size = 2\n";
        let slow = Drawn { slow: Duration::from_millis(200), ..Drawn::new((160, 160), 2, membranes) };
        let c = slow.within(Duration::from_secs(seconds), None, given).unwrap().config;
        c.train.epochs * c.data.samples_per_epoch as u64 / 2
    };
    // With two loads a step, on up to 16 cores, 30 s would have room for at most 1200 steps.
    assert!(steps(30) > 2000, "{}", steps(30));
    assert!(steps(1) <= 30, "images that are not even loaded once are waited for: {}", steps(1));
}

#[test]
fn what_does_not_fit_the_memory_is_made_smaller() {
    let needs = |memory| {
        let plan = Drawn::new((512, 512), 2, membranes).within(Duration::from_secs(60), memory, FIXED).unwrap();
        let c = plan.config.clone();
        let images = unet_train::ImageFacts {
            channels: 1,
            classes: 2,
            value_bytes: 1,
            train: vec![(512, 512); 8],
            val: vec![(512, 512)],
        };
        (unet_train::estimate_memory(&c, &images).unwrap().total(), plan)
    };
    let (free, _) = needs(Some(8 << 30));
    let (tight, plan) = needs(Some(free / 2));
    assert!(tight <= free / 2, "{tight} of {free}");
    assert!(why(&plan, "memory").contains("made to fit"), "{}", why(&plan, "memory"));
    let given = "train.epochs = 1\nmodel.width = 64\ndata.patch = 512\ntrain.batch_size = 4";
    let error =
        Drawn::new((512, 512), 2, membranes).within(Duration::from_secs(60), Some(100 << 20), given).unwrap_err();
    assert!(error.to_string().contains("--memory"), "{error}");
}

//! Every loss: its gradient against finite differences, and what must hold at the ends: huge logits, empty, full and ignored masks.
#![allow(clippy::unwrap_used)]

use unet_data::IGNORE;

use super::*;

/// Every kind, with numbers that are no defaults, for so many classes.
fn every(classes: usize) -> Vec<LossConfig> {
    let two = classes == 2;
    let class_weights = if two { vec![] } else { (0..classes).map(|c| 0.5 + c as f64).collect() };
    let mut all = vec![LossConfig::Auto, LossConfig::CrossEntropy { class_weights: vec![0.5; classes] }];
    if two {
        all.push(LossConfig::Bce { pos_weight: 3.0 });
    }
    for scope in [Scope::Image, Scope::Batch] {
        let (smooth, background) = (0.5, scope == Scope::Image);
        let counted: [&[usize]; 3] = [&[], &[0], if two { &[1, 0] } else { &[0, 2] }];
        for counted in counted.map(<[usize]>::to_vec).into_iter().filter(|c| background || c.is_empty()) {
            let classes = || counted.clone();
            all.push(LossConfig::Dice { scope, smooth, background, classes: classes() });
            all.push(LossConfig::Tversky { alpha: 0.2, beta: 0.9, scope, smooth, background, classes: classes() });
            let (alpha, beta, gamma) = (0.3, 0.7, 0.75);
            all.push(LossConfig::FocalTversky { alpha, beta, gamma, scope, smooth, background, classes: classes() });
            all.push(LossConfig::DiceCe {
                ce_weight: 0.5,
                dice_weight: 2.0,
                pos_weight: if two { 2.0 } else { 1.0 },
                class_weights: class_weights.clone(),
                scope,
                smooth,
                background,
                classes: classes(),
            });
        }
    }
    all.push(LossConfig::Focal { gamma: 2.0, alpha: two.then_some(0.25), class_weights: class_weights.clone() });
    all.push(LossConfig::Focal { gamma: 0.5, alpha: None, class_weights });
    all
}

/// Two images of 1 × 3 pixels.
const SHAPE: (usize, usize, usize) = (2, 1, 3);

/// The gradient against central differences of the mean, with a weight of 0 among the weights and an ignored pixel.
fn check_gradient(config: &LossConfig, classes: usize, labels: &[u8]) {
    let kernels = Kernels::detect();
    let mut loss = config.build(classes).unwrap();
    let k = loss.logits_per_pixel(classes);
    let weights: Vec<f32> = (0..labels.len()).map(|i| (i % 3) as f32 * 0.5).collect();
    let logits: Vec<f32> = (0..labels.len() * k).map(|i| ((i * 37 % 23) as f32 - 11.0) / 4.0).collect();
    for weights in [None, Some(weights.as_slice())] {
        let targets = Targets { weights, ..Targets::new(labels, SHAPE) };
        let mut grad = vec![f32::NAN; logits.len()];
        loss.evaluate(&kernels, &logits, &targets, Some(&mut grad)).unwrap();
        for i in 0..logits.len() {
            let mut at = |d: f32| {
                let mut l = logits.clone();
                l[i] += d;
                loss.evaluate(&kernels, &l, &targets, None).unwrap().mean()
            };
            let numeric = (at(1e-2) - at(-1e-2)) / 2e-2;
            let error = (numeric - f64::from(grad[i])).abs();
            assert!(error < 3e-5, "{config:?}, {classes} classes, at {i}: {numeric} for {}", grad[i]);
        }
    }
}

#[test]
fn gradients_are_those_of_the_mean() {
    for (classes, labels) in [(2, [0, 1, 1, 0, 1, 0]), (3, [0, 2, 1, 1, 0, 2]), (3, [0, 2, IGNORE, 1, IGNORE, 2])] {
        every(classes).iter().for_each(|config| check_gradient(config, classes, &labels));
    }
    every(2).iter().for_each(|config| check_gradient(config, 2, &[0, IGNORE, 1, 0, 1, 0]));
}

#[test]
fn extreme_logits_and_empty_full_and_ignored_masks_stay_finite() {
    let kernels = Kernels::detect();
    for classes in [2, 3] {
        for config in every(classes) {
            let mut loss = config.build(classes).unwrap();
            let k = loss.logits_per_pixel(classes);
            for (size, label) in [(1e4, 0), (1e4, 1), (-1e4, 0), (-1e4, 1), (0.0, 0), (0.0, 1), (1e4, IGNORE)] {
                let logits: Vec<f32> = (0..6 * k).map(|i| if i % 2 == 0 { size } else { -size }).collect();
                let mut grad = vec![f32::NAN; logits.len()];
                let labels = [label; 6];
                let targets = Targets::new(&labels, SHAPE);
                let found = loss.evaluate(&kernels, &logits, &targets, Some(&mut grad)).unwrap();
                let finite = found.mean().is_finite() && found.mean() >= 0.0 && grad.iter().all(|g| g.is_finite());
                assert!(finite, "{config:?}, {classes} classes, {size} for {label}: {found:?} {grad:?}");
                assert!(label != IGNORE || grad.iter().all(|g| *g == 0.0), "{config:?}: ignored pixels pull");
            }
        }
    }
}

#[test]
fn an_ignored_pixel_is_one_that_is_not_there() {
    let kernels = Kernels::detect();
    for classes in [2, 3] {
        for config in every(classes) {
            let mut loss = config.build(classes).unwrap();
            let k = loss.logits_per_pixel(classes);
            let logits: Vec<f32> = (0..6 * k).map(|i| ((i * 31 % 17) as f32 - 8.0) / 3.0).collect();
            let whole = Targets::new(&[0, 1, IGNORE, 1, 0, IGNORE], SHAPE);
            let found = loss.evaluate(&kernels, &logits, &whole, None).unwrap().mean();
            let kept: Vec<f32> = [0, 1, 3, 4].iter().flat_map(|i| logits[i * k..(i + 1) * k].to_vec()).collect();
            let expected =
                loss.evaluate(&kernels, &kept, &Targets::new(&[0, 1, 1, 0], (2, 1, 2)), None).unwrap().mean();
            assert!((found - expected).abs() < 1e-6, "{config:?}: {found} for {expected}");
        }
    }
}

#[test]
fn two_logits_whose_difference_is_the_one_give_the_same_loss() {
    let kernels = Kernels::detect();
    let one = [-3.0, 0.5, -40.0, 2.0];
    let two: Vec<f32> = one.iter().flat_map(|x| [0.0, *x]).collect();
    let targets = Targets::new(&[0, 1, 1, 0], (1, 2, 2));
    let bce = BceWithLogits::default().evaluate(&kernels, &one, &targets, None).unwrap();
    let ce = CrossEntropy::new(2).evaluate(&kernels, &two, &targets, None).unwrap();
    assert!((bce.sum - ce.sum).abs() < 1e-5 * bce.sum, "{bce:?} {ce:?}");
    assert_eq!(bce.weight, 4.0);
}

#[test]
fn a_dice_per_image_does_not_depend_on_the_batch_and_one_per_batch_does() {
    let kernels = Kernels::detect();
    let (logits, labels) = ([2.0f32, -1.0, 0.5, -3.0, 1.0, 0.1], [1, 0, 1, 0, 1, 1]);
    for scope in [Scope::Image, Scope::Batch] {
        let mut loss = LossConfig::Dice { scope, smooth: 1.0, background: true, classes: vec![] }.build(2).unwrap();
        let whole = loss.evaluate(&kernels, &logits, &Targets::new(&labels, SHAPE), None).unwrap();
        let mut parts = LossSum::default();
        for half in [0..3, 3..6] {
            let targets = Targets::new(&labels[half.clone()], (1, 1, 3));
            parts.add(loss.evaluate(&kernels, &logits[half], &targets, None).unwrap());
        }
        assert_eq!((whole.mean() - parts.mean()).abs() < 1e-12, scope == Scope::Image, "{whole:?} {parts:?}");
    }
}

#[test]
fn a_loss_in_candle_has_candles_gradient() {
    use candle_core::{DType, Tensor};
    let kernels = Kernels::detect();
    // Cross-entropy written in Candle, for two images of three classes, against ours.
    let mut own = CandleLoss::new("own", 3, |logits: &Tensor, targets: &CandleTargets| {
        let log_p = logits.broadcast_sub(&logits.log_sum_exp(1)?.unsqueeze(1)?)?;
        log_p.gather(&targets.labels.to_dtype(DType::U32)?.unsqueeze(1)?, 1)?.neg()?.mean_all()
    });
    let logits: Vec<f32> = (0..18).map(|i| ((i * 37 % 23) as f32 - 11.0) / 4.0).collect();
    let targets = Targets::new(&[0, 2, 1, 1, 0, 2], SHAPE);
    let (mut a, mut b) = (vec![0.0; 18], vec![0.0; 18]);
    let found = own.evaluate(&kernels, &logits, &targets, Some(&mut a)).unwrap().mean();
    let expected = CrossEntropy::new(3).evaluate(&kernels, &logits, &targets, Some(&mut b)).unwrap().mean();
    assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-6), "{a:?}\n{b:?}");
    let mut wrong = CandleLoss::new("wrong", 3, |logits: &Tensor, _: &CandleTargets| Ok(logits.clone()));
    assert!(wrong.evaluate(&kernels, &logits, &targets, None).is_err(), "no scalar");
}

#[test]
fn what_does_not_go_with_the_classes_is_refused() {
    let dice = |smooth, background, classes: &[usize]| LossConfig::Dice {
        scope: Scope::Image,
        smooth,
        background,
        classes: classes.to_vec(),
    };
    for (config, classes, part) in [
        (LossConfig::Bce { pos_weight: 1.0 }, 3, "loss.kind"),
        (LossConfig::CrossEntropy { class_weights: vec![1.0; 2] }, 3, "loss.class_weights"),
        (LossConfig::Focal { gamma: 2.0, alpha: Some(0.5), class_weights: vec![] }, 3, "loss.alpha"),
        (LossConfig::Focal { gamma: 2.0, alpha: None, class_weights: vec![1.0; 2] }, 2, "loss.class_weights"),
        (dice(1.0, true, &[0, 2]), 2, "some of 0 to 1"),
        (dice(1.0, true, &[1, 1]), 3, "each once"),
        (dice(1.0, false, &[1]), 3, "background = false"),
    ] {
        let text = config.build(classes).err().unwrap().to_string();
        assert!(text.contains(part), "{text}");
    }
    for (config, part) in [
        (LossConfig::Bce { pos_weight: 0.0 }, "loss.pos_weight = 0"),
        (LossConfig::Focal { gamma: -1.0, alpha: None, class_weights: vec![] }, "loss.gamma = -1"),
        (dice(0.0, true, &[]), "loss.smooth = 0"),
        (LossConfig::CrossEntropy { class_weights: vec![0.0, 0.0] }, "loss.class_weights"),
    ] {
        let text = config.validate().unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
    }
    assert!(LossConfig::Auto.set_classes(&[0]).unwrap_err().to_string().contains("tversky"));
    assert!(dice(1.0, true, &[0]).build_for(3, true).err().unwrap().to_string().contains("multi_label"));
}

#[test]
fn of_two_classes_one_is_the_rest_of_the_other() {
    let kernels = Kernels::detect();
    let (labels, logits) = ([0, 1, 1, 0, IGNORE, 0], [-3.0f32, 0.5, -4.0, 2.0, 1.0, 0.3]);
    let swapped = labels.map(|l| if l < 2 { 1 - l } else { l });
    let of = |classes: &[usize], logits: &[f32], labels: &[u8]| {
        let mut config = LossConfig::FocalTversky {
            alpha: 0.2,
            beta: 0.9,
            gamma: 0.75,
            scope: Scope::Image,
            smooth: 0.5,
            background: true,
            classes: vec![],
        };
        config.set_classes(classes).unwrap();
        let mut grad = vec![f32::NAN; 6];
        let mut loss = config.build(2).unwrap();
        (loss.evaluate(&kernels, logits, &Targets::new(labels, SHAPE), Some(&mut grad)).unwrap().mean(), grad)
    };
    let negated = logits.map(|x| -x);
    let (zero, grad_zero) = of(&[0], &logits, &labels);
    let (one, grad_one) = of(&[1], &negated, &swapped);
    assert!((zero - one).abs() < 1e-6, "{zero} for {one}");
    assert!(grad_zero.iter().zip(&grad_one).all(|(a, b)| (a + b).abs() < 1e-6), "{grad_zero:?} {grad_one:?}");
    let (both, _) = of(&[0, 1], &logits, &labels);
    assert!((both - (zero + of(&[1], &logits, &labels).0) / 2.0).abs() < 1e-9);
}

//! The CPU interpreters against themselves: gradients by finite differences of the loss, memory reused from step to step.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use unet_kernels::{Dims, Kernels, Tier};
use unet_model::{
    AnyPredictor, AnyTrainer, CpuPredictor, CpuTrainer, Gradients, ParamKind, Parameters, Precision, UNet, UNetConfig,
    Upsampling,
};

/// A small network with arbitrary, unequal weights.
fn network(upsampling: Upsampling) -> UNet {
    let config = UNetConfig { width: 4, depth: 2, upsampling, ..UNetConfig::tutorial() };
    let mut seed = 7u32;
    let mut draw = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let params = Parameters::new(&config, |spec| {
        let scale = (3.0 / spec.fan_in.max(1) as f32).sqrt();
        (0..spec.len())
            .map(|_| match spec.kind {
                ParamKind::Kernel | ParamKind::Bias => draw() * scale,
                ParamKind::NormScale | ParamKind::RunningVar => 1.0 + 0.3 * draw(),
                ParamKind::NormShift | ParamKind::RunningMean => 0.3 * draw(),
            })
            .collect()
    });
    UNet::from_parameters(config, params.unwrap()).unwrap()
}

fn image(dims: Dims) -> Vec<f32> {
    (0..dims.len()).map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0) + (i as f32 * 0.1).sin()).collect()
}

/// Σ sin(logit): a loss with gradient cos(logit), neither flat nor steep anywhere.
fn loss(trainer: &mut CpuTrainer, model: &mut UNet, x: &[f32], dims: Dims, grads: Option<&mut Gradients>) -> f64 {
    let pass = trainer.forward(model, x, dims).unwrap();
    let value = pass.logits().iter().map(|l| f64::from(*l).sin()).sum();
    if let Some(grads) = grads {
        let d: Vec<f32> = pass.logits().iter().map(|l| l.cos()).collect();
        pass.backward(&d, grads).unwrap();
    }
    value
}

#[test]
fn gradients_are_the_slope_of_the_loss() {
    for (upsampling, dims) in [
        (Upsampling::Bilinear, Dims::new(2, 17, 20, 1)),
        (Upsampling::BilinearWide, Dims::new(2, 16, 19, 1)),
        (Upsampling::Transposed, Dims::new(2, 19, 18, 1)),
    ] {
        let (mut model, x) = (network(upsampling), image(dims));
        let mut trainer = CpuTrainer::new(Kernels::detect());
        let mut grads = Gradients::new();
        loss(&mut trainer, &mut model, &x, dims, Some(&mut grads));
        let names: Vec<String> = model.params().trained().map(|s| s.name.clone()).collect();
        assert_eq!(grads.iter().count(), names.len());
        for name in names {
            let (values, g) = (model.params().to_vec(&name).unwrap(), grads.get(&name).unwrap().to_vec());
            let norm = g.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            if norm == 0.0 {
                assert!(name.ends_with(".bias"), "{name} has no gradient");
                continue;
            }
            // Short enough that few ReLUs and maxima change their minds on the way, long enough for f32.
            let step = (5e-3 / norm).min(1e-3) / norm;
            let mut at = |sign: f64| {
                let moved: Vec<f32> =
                    values.iter().zip(&g).map(|(v, g)| v + (sign * step * f64::from(*g)) as f32).collect();
                model.params_mut().set(&name, &moved).unwrap();
                loss(&mut trainer, &mut model, &x, dims, None)
            };
            let slope = (at(1.0) - at(-1.0)) / (2.0 * step * norm);
            model.params_mut().set(&name, &values).unwrap();
            assert!((slope - norm).abs() < 0.05 * norm + 1e-2, "{upsampling:?} {name}: slope {slope}, gradient {norm}");
        }
    }
}

#[test]
fn a_second_step_and_a_second_image_repeat_the_first() {
    let dims = Dims::new(1, 16, 16, 1);
    let (mut model, x) = (network(Upsampling::Bilinear), image(dims));
    let mut trainer = CpuTrainer::<f32>::new(Kernels::detect());
    let (mut first, mut second) = (Gradients::new(), Gradients::new());
    loss(&mut trainer, &mut model, &x, dims, Some(&mut first));
    loss(&mut trainer, &mut model, &x, dims, Some(&mut second));
    assert_eq!(first, second, "stale buffers leak into the next step");

    let mut predictor = CpuPredictor::<f32>::new(Kernels::detect(), &model).unwrap();
    let once = predictor.run(&x, dims).unwrap().to_vec();
    assert_eq!(once, predictor.run(&x, dims).unwrap());
    assert_eq!(once.len(), dims.len());
    assert!(predictor.run(&x[..100], Dims::new(1, 10, 10, 1)).is_ok(), "any size from 2^depth on");
    assert!(predictor.run(&x[..30], Dims::new(1, 3, 10, 1)).is_err());
}

/// Guards against weights of one network that are used for another which has seen as many changes.
#[test]
fn a_trainer_and_a_predictor_take_the_weights_of_the_network_that_they_are_given() {
    let dims = Dims::new(1, 16, 16, 1);
    let (mut first, mut second, x) = (network(Upsampling::Bilinear), network(Upsampling::Bilinear), image(dims));
    second.params_mut().write("outc.conv.weight", |w| w.fill(0.5)).unwrap();
    first.params_mut().write("outc.conv.bias", |_| ()).unwrap();
    let mut trainer = CpuTrainer::<f32>::new(Kernels::detect());
    let mut predictor = CpuPredictor::<f32>::new(Kernels::detect(), &first).unwrap();
    predictor.run(&x, dims).unwrap();
    predictor.refresh(&second).unwrap();
    let own = CpuPredictor::<f32>::new(Kernels::detect(), &second).unwrap().run(&x, dims).unwrap().to_vec();
    assert_eq!(predictor.run(&x, dims).unwrap(), own);
    let own = trainer.forward(&mut second, &x, dims).unwrap().logits().to_vec();
    let other = trainer.forward(&mut first, &x, dims).unwrap().logits().to_vec();
    assert!(own != other);
    assert_eq!(trainer.forward(&mut second, &x, dims).unwrap().logits(), own);
}

/// Logits, gradients and running statistics of one step.
fn step(trainer: &mut AnyTrainer, upsampling: Upsampling, dims: Dims) -> (Vec<f32>, Gradients, Vec<Vec<f32>>) {
    let (mut model, x) = (network(upsampling), image(dims));
    let pass = trainer.forward(&mut model, &x, dims).unwrap();
    let logits = pass.logits().to_vec();
    let mut grads = Gradients::new();
    pass.backward(&logits.iter().map(|l| l.cos()).collect::<Vec<_>>(), &mut grads).unwrap();
    let params = model.params();
    (logits, grads, params.specs().iter().map(|s| params.to_vec(&s.name).unwrap()).collect())
}

#[test]
fn computing_activations_again_changes_no_bit() {
    for upsampling in [Upsampling::Bilinear, Upsampling::BilinearWide, Upsampling::Transposed] {
        for precision in [Precision::F32, Precision::Bf16] {
            let dims = Dims::new(2, 17, 22, 1);
            let [mut kept, mut dropped] = [false, true].map(|c| AnyTrainer::new(Kernels::detect(), precision, c));
            let expected = step(&mut kept, upsampling, dims);
            for _ in 0..2 {
                assert_eq!(step(&mut dropped, upsampling, dims), expected, "{upsampling:?} in {precision}");
            }
        }
    }
}

#[test]
fn bf16_follows_f32() {
    // Stored as bf16; and multiplied as bf16 too, on a matrix engine in plain code.
    for (upsampling, tier) in [Upsampling::Bilinear, Upsampling::BilinearWide, Upsampling::Transposed]
        .into_iter()
        .flat_map(|u| [Tier::detect(), Tier::EmulatedAmx].map(|t| (u, t)))
    {
        let dims = Dims::new(2, 33, 38, 1);
        let kernels = [Tier::detect(), tier].map(|t| Kernels::with_tier(t).unwrap());
        let mut full = AnyTrainer::new(kernels[0], Precision::F32, false);
        let mut half = AnyTrainer::new(kernels[1], Precision::Bf16, false);
        let ((logits, grads, _), (near, near_grads, _)) =
            (step(&mut full, upsampling, dims), step(&mut half, upsampling, dims));
        let off = |a: &[f32], b: &[f32]| {
            let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied()).max(1e-30)
        };
        // A stored value is off by up to 2⁻⁹ of itself; some twenty of them lie on the way, and batch norm widens small differences.
        let distance = off(&near, &logits);
        assert!(distance > 0.0 && distance < 0.05, "logits of {upsampling:?} on {tier}: {distance}");
        let whole = |g: &Gradients| g.iter().flat_map(|(_, g)| g.to_vec()).collect::<Vec<_>>();
        let distance = off(&whole(&near_grads), &whole(&grads));
        assert!(distance > 0.0 && distance < 0.1, "gradient of {upsampling:?} on {tier}: {distance}");
    }
}

#[test]
fn a_prediction_says_which_layer_was_the_first_that_is_no_number() {
    let dims = Dims::new(1, 20, 24, 1);
    for precision in [Precision::F32, Precision::Bf16] {
        let mut model = network(Upsampling::Transposed);
        let first = |model: &UNet, x: &[f32]| {
            AnyPredictor::new(Kernels::detect(), precision, model).unwrap().first_non_finite(x, dims).unwrap()
        };
        let mut x = image(dims);
        assert_eq!(first(&model, &x), None);
        // From the last layer up, so that each comes before those that were spoilt already.
        for (name, layer) in [
            ("outc.conv.bias", "outc.conv"),
            ("up2.conv.double_conv.4.running_var", "up2.conv.double_conv.4"),
            ("up1.up.weight", "up1.up"),
            ("down2.maxpool_conv.1.double_conv.0.weight", "down2.maxpool_conv.1.double_conv.0"),
            ("inc.double_conv.1.weight", "inc.double_conv.1"),
        ] {
            let mut values = model.params().to_vec(name).unwrap();
            values[0] = f32::NAN;
            model.params_mut().set(name, &values).unwrap();
            assert_eq!(first(&model, &x).as_deref(), Some(layer), "{precision}");
        }
        x[7] = f32::INFINITY;
        assert_eq!(first(&model, &x).as_deref(), Some("input"));
    }
}

#[test]
fn the_papers_572_pixels_give_388() {
    let config = UNetConfig { width: 2, ..UNetConfig::paper() };
    let params = Parameters::new(&config, unet_model::init::of_network(&config, 1)).unwrap();
    let mut model = UNet::from_parameters(config, params).unwrap();
    let dims = Dims::new(1, 572, 572, 1);
    let x = image(dims);
    let mut trainer = CpuTrainer::<f32>::new(Kernels::detect());
    let pass = trainer.forward(&mut model, &x, dims).unwrap();
    assert_eq!(pass.logits_dims(), Dims::new(1, 388, 388, 1));
    drop(pass);
    let mut predictor = CpuPredictor::<f32>::new(Kernels::detect(), &model).unwrap();
    assert_eq!(predictor.run(&x, dims).unwrap().len(), 388 * 388);
    let error = predictor.run(&x[..571 * 571], Dims::new(1, 571, 571, 1)).unwrap_err().to_string();
    assert!(error.contains("571") && error.contains("572"), "{error}");
}

//! Seeded initial values, drawn from PyTorch's default distributions. Takes a seed, yields the function that
//! [`Parameters::new`](crate::Parameters::new) asks for each parameter's values.
//!
//! A kernel and a bias are uniform in ±1/√fan_in: that is what `kaiming_uniform_(a=√5)` of `nn.Conv2d.reset_parameters` comes
//! to (gain √(2/(1+5)), standard deviation gain/√fan_in, bound √3 times that). Batch norms start as the identity.
//! The distributions are PyTorch's, the drawn numbers are not: its generator is another.
//!
//! Without norms such values fade from layer to layer; a network that has none starts as the paper's does, with kernels drawn from a normal
//! distribution of variance 2/fan_in (He et al. 2015) and biases of 0.

use std::f64::consts::TAU;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::config::UNetConfig;
use crate::options::Norm;
use crate::params::{ParamKind, ParamSpec};

/// Draws initial values. Each parameter has its own stream of `(seed, name)`, so that neither the order in which parameters are
/// asked for nor the presence of others changes what it gets.
pub fn init(seed: u64) -> impl FnMut(&ParamSpec) -> Vec<f32> {
    move |spec| match spec.kind {
        ParamKind::Kernel | ParamKind::Bias => uniform(seed, spec),
        ParamKind::NormScale | ParamKind::RunningVar => vec![1.0; spec.len()],
        ParamKind::NormShift | ParamKind::RunningMean => vec![0.0; spec.len()],
    }
}

/// Draws the initial values of a network of that kind: [`init`], or [`he`] where it has no norms.
pub fn of_network(config: &UNetConfig, seed: u64) -> impl FnMut(&ParamSpec) -> Vec<f32> {
    let (bare, mut with_norms, mut without) = (config.options.norm == Norm::None, init(seed), he(seed));
    move |spec| if bare { without(spec) } else { with_norms(spec) }
}

/// As [`init`], kernels normal with variance 2/fan_in, biases 0.
pub fn he(seed: u64) -> impl FnMut(&ParamSpec) -> Vec<f32> {
    let mut others = init(seed);
    move |spec| match spec.kind {
        ParamKind::Kernel => normal(seed, spec, (2.0 / spec.fan_in as f64).sqrt()),
        ParamKind::Bias => vec![0.0; spec.len()],
        _ => others(spec),
    }
}

/// Normal, by pairs (Box & Muller 1958).
fn normal(seed: u64, spec: &ParamSpec, deviation: f64) -> Vec<f32> {
    let mut rng = stream(seed, spec);
    let mut values = Vec::with_capacity(spec.len() + 1);
    while values.len() < spec.len() {
        // 1 − u is never 0.
        let (radius, angle) = ((-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt(), TAU * rng.random::<f64>());
        values.extend([angle.cos(), angle.sin()].map(|v| (v * radius * deviation) as f32));
    }
    values.truncate(spec.len());
    values
}

/// Each parameter's own random numbers.
fn stream(seed: u64, spec: &ParamSpec) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(fnv1a(spec.name.as_bytes()));
    rng
}

/// Uniform in ±1/√fan_in.
fn uniform(seed: u64, spec: &ParamSpec) -> Vec<f32> {
    let mut rng = stream(seed, spec);
    let bound = 1.0 / (spec.fan_in as f64).sqrt();
    (0..spec.len()).map(|_| ((2.0 * rng.random::<f64>() - 1.0) * bound) as f32).collect()
}

/// The 64-bit FNV-1a hash: the same on every machine and in every version, unlike the standard library's.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Upsampling;
    use crate::params::param_specs;

    /// Specs of a network with transposed convolutions and biases everywhere.
    fn specs() -> Vec<ParamSpec> {
        param_specs(&UNetConfig { width: 16, depth: 2, upsampling: Upsampling::Transposed, ..UNetConfig::tutorial() })
    }

    fn spec(name: &str) -> ParamSpec {
        specs().into_iter().find(|s| s.name == name).expect("the network has it")
    }

    #[test]
    fn kernels_and_biases_are_uniform_in_pytorchs_bounds() {
        // Bounds of nn.Conv2d(64, 64, 3), nn.ConvTranspose2d(64, 32, 2), nn.Conv2d(16, 1, 1): 1/√(64·9), 1/√(32·4), 1/√16.
        for (name, fan_in) in [
            ("down2.maxpool_conv.1.double_conv.3.weight", 64.0 * 9.0),
            ("down2.maxpool_conv.1.double_conv.3.bias", 64.0 * 9.0),
            ("up1.up.weight", 32.0 * 4.0),
            ("up1.up.bias", 32.0 * 4.0),
            ("outc.conv.weight", 16.0),
        ] {
            let bound = 1.0 / f64::sqrt(fan_in);
            let values = init(7)(&spec(name));
            assert!(values.iter().all(|v| f64::from(v.abs()) <= bound), "{name} stays within ±{bound}");
            let n = values.len() as f64;
            let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
            let var = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / n;
            // A uniform's variance is bound²/3, its mean's deviation √(that/n), the mean square's deviation √(4/45)·bound²/√n.
            assert!(mean.abs() < 5.0 * bound / (3.0 * n).sqrt(), "{name}: mean {mean}");
            assert!((var - bound * bound / 3.0).abs() < 5.0 * (4.0 / 45.0 / n).sqrt() * bound * bound, "{name}: {var}");
        }
    }

    #[test]
    fn a_kernel_fills_its_range_evenly() {
        let values = init(1)(&spec("down2.maxpool_conv.1.double_conv.3.weight"));
        let bound = 1.0 / f32::sqrt(64.0 * 9.0);
        let mut counts = [0usize; 10];
        for v in &values {
            counts[(((v / bound + 1.0) * 5.0) as usize).min(9)] += 1;
        }
        let expected = values.len() as f64 / 10.0;
        let chi2: f64 = counts.iter().map(|c| (*c as f64 - expected).powi(2) / expected).sum();
        assert!(chi2 < 33.7, "χ² = {chi2} has a probability below 1e-4 at 9 degrees of freedom");
    }

    #[test]
    fn without_norms_kernels_are_normal_and_biases_zero() {
        let spec = spec("down2.maxpool_conv.1.double_conv.3.weight");
        let config = UNetConfig::paper();
        let values = of_network(&config, 7)(&spec);
        let n = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let var = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / n;
        let expected = 2.0 / spec.fan_in as f64;
        // Deviations of the mean and of the mean square: √(σ²/n) and √(2/n)·σ².
        assert!(mean.abs() < 5.0 * (expected / n).sqrt(), "mean {mean}");
        assert!((var - expected).abs() < 5.0 * (2.0 / n).sqrt() * expected, "variance {var} for {expected}");
        let within = values.iter().filter(|v| f64::from(v.abs()) < expected.sqrt()).count() as f64 / n;
        assert!((within - 0.6827).abs() < 0.02, "{within} within a deviation");
        assert!(of_network(&config, 7)(&self::spec("inc.double_conv.0.bias")).iter().all(|v| *v == 0.0));
        assert_eq!(of_network(&UNetConfig::tutorial(), 7)(&spec), init(7)(&spec));
    }

    #[test]
    fn batch_norms_start_as_the_identity() {
        let of = |name| init(3)(&spec(name));
        assert_eq!(of("inc.double_conv.1.weight"), [1.0; 16]);
        assert_eq!(of("inc.double_conv.1.bias"), [0.0; 16]);
        assert_eq!(of("inc.double_conv.1.running_mean"), [0.0; 16]);
        assert_eq!(of("inc.double_conv.1.running_var"), [1.0; 16]);
    }

    #[test]
    fn a_parameter_depends_on_seed_and_name_alone() {
        let mut forward = init(11);
        let mut backward = init(11);
        let specs = specs();
        let first: Vec<_> = specs.iter().map(&mut forward).collect();
        let mut second: Vec<_> = specs.iter().rev().map(&mut backward).collect();
        second.reverse();
        assert_eq!(first, second);
        let (a, b) = (spec("inc.double_conv.0.bias"), spec("inc.double_conv.3.bias"));
        assert_ne!(init(11)(&a), init(12)(&a), "another seed");
        let scaled: Vec<f32> = init(11)(&b).iter().map(|v| v * 12.0).collect();
        let other: Vec<f32> = init(11)(&a).iter().map(|v| v * 3.0).collect();
        assert_ne!(scaled, other, "another name draws other numbers");
    }

    #[test]
    fn the_drawn_numbers_are_the_same_everywhere() {
        // Guards reproducibility: a change of generator or hash would silently change every seeded result.
        let values = init(0)(&spec("inc.double_conv.0.weight"));
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8, "FNV-1a's published test vector");
        assert_eq!(
            values[..3].iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
            [1_037_975_434, 3_189_468_734, 3_197_841_676]
        );
    }
}

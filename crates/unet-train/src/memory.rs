//! The memory of a run before its first step: [`estimate`] adds it up from the configuration, [`check`] compares it with what the system
//! can give, and advises.

use serde::{Deserialize, Serialize};
use unet_data::{Dataset, Split};
use unet_kernels::{Dims, Kernels};
use unet_model::UNetConfig;
use unet_model::backend::cpu::{
    checkpointed_bytes, inference_bytes, parameter_bytes, recalibrated_bytes, resting_bytes, training_bytes,
    working_bytes,
};
use unet_model::geometry;
use unet_model::params::param_specs;

use crate::TrainError;
use crate::config::RunConfig;
use crate::loss::LossConfig;
use crate::optim::{state_values, working_values};
use crate::predict::{Span, Tiling};

/// Copies of the weights that packing takes: a 3×3 kernel is kept as the 6×6 of its Winograd transform.
const PACKED_COPIES: u64 = 4;
/// What the program itself takes: code, threads' stacks, their small buffers.
const BASE: u64 = 20 << 20;
/// One byte in so many is held by the allocator between the blocks that it has lent: what runs were found to take beyond their sum.
const IDLE: u64 = 16;
/// Bytes a pixel of a validation image's overlay: its colours, the file of hardly fewer bytes, read again, and its copies on their way
/// into the event file.
const OVERLAY: u64 = 15;

/// What a run needs, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryEstimate {
    /// Activations and their gradients, at the peak of a step.
    pub activations: u64,
    /// What the kernels and the optimizer work in.
    pub working: u64,
    /// Weights, packed weights, gradients, the optimizer's memory, the average.
    pub parameters: u64,
    /// Decoded images and batches prepared ahead.
    pub data: u64,
    /// The largest image that is validated: activations of its largest tile, its logits, probabilities and overlay; as far as the buffers
    /// that training keeps leave no room for them.
    pub validation: u64,
}

impl MemoryEstimate {
    /// All of it, with what the program itself takes, and what lies idle between blocks.
    pub fn total(&self) -> u64 {
        let blocks = self.activations + self.working + self.parameters + self.data + self.validation;
        blocks + blocks / IDLE + BASE
    }
}

/// What of a run's images its memory depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFacts {
    /// Channels of each.
    pub channels: usize,
    /// Classes of the masks.
    pub classes: usize,
    /// Bytes of a decoded value: 1 for 8 bits, 2 for 16, 4 for floats.
    pub value_bytes: usize,
    /// Width and height of each image that is trained on.
    pub train: Vec<(usize, usize)>,
    /// Width and height of each image that is held out.
    pub val: Vec<(usize, usize)>,
}

impl ImageFacts {
    /// Those of a dataset. Its values are taken to be all of the first training image's depth, which is decoded for that.
    ///
    /// # Errors
    /// An image cannot be read.
    pub fn of(dataset: &dyn Dataset, split: &Split) -> Result<Self, TrainError> {
        let sizes = |indices: &[usize]| indices.iter().map(|&i| dataset.size(i)).collect::<Result<Vec<_>, _>>();
        let depth = match split.train.first() {
            Some(&first) => dataset.load(first)?.image.bit_depth(),
            None => 8,
        };
        let (channels, classes) = (dataset.channels(), dataset.classes().len());
        let value_bytes = (depth / 8) as usize;
        Ok(Self { channels, classes, value_bytes, train: sizes(&split.train)?, val: sizes(&split.val)? })
    }
}

/// What training on images like these needs.
///
/// # Errors
/// The network cannot take patches or images of that size.
pub fn estimate(config: &RunConfig, images: &ImageFacts) -> Result<MemoryEstimate, TrainError> {
    let ImageFacts { channels, classes, value_bytes, .. } = *images;
    let logits = config.loss.build_for(classes, config.data.multi_label)?.logits_per_pixel(classes);
    let network = config.network(channels, logits);
    let largest_of = |sizes: &[(usize, usize)]| sizes.iter().copied().max_by_key(|(w, h)| w * h).unwrap_or((0, 0));
    let largest = largest_of(&images.train);
    let (width, height) = if config.data.patch > 0 { (config.data.patch, config.data.patch) } else { largest };
    let margin = 2 * geometry::margin(&network);
    let dims = Dims::new(config.train.batch_size, height + margin, width + margin, channels);
    let kernels = config.train.kernels()?;
    let element = config.train.precision.on(&kernels).bytes();
    let step_bytes = if config.train.checkpoint_activations { checkpointed_bytes } else { training_bytes };
    let activations = step_bytes(&network, dims, element)? as u64;
    let specs = param_specs(&network);
    let stepping = working_values(&config.optimizer, &specs) * size_of::<f32>();
    // Of each affinity a label, as a float too, and its weight.
    let affinities = network.options.affinities * width * height * config.train.batch_size * (1 + 2 * size_of::<f32>());
    let working = (working_bytes(&network, dims)? + stepping + affinities) as u64;
    let one = parameter_bytes(&network) as u64;
    let state = (state_values(&config.optimizer, &specs) * size_of::<f32>()) as u64;
    let average = if config.train.ema_decay > 0.0 || config.optimizer.averages_itself() { one } else { 0 };
    // The gradient of a step, and that of a batch where several make one.
    let gradients = if config.train.accumulate > 1 { 2 * one } else { one };
    let parameters = (1 + PACKED_COPIES) * one + gradients + state + average;
    // A pixel of a batch is `channels` floats and a label; of a decoded image its values and a label; each may have a weight.
    let weight = if config.data.weight_map.is_some() { size_of::<f32>() } else { 0 };
    let pixels = images.train.iter().map(|(w, h)| (w * h) as u64).sum::<u64>();
    let cached = (pixels * (channels * value_bytes + 1 + weight) as u64).min((config.data.cache_mib as u64) << 20);
    let batch = (dims.len() * size_of::<f32>() + dims.pixels() * (1 + weight)) as u64;
    let held_out = largest_of(&images.val);
    let validation = if held_out.0.min(held_out.1) >> network.depth > 0 {
        // With the weights packed once more, batch norm folded in; beside what a step has left.
        let recalibrates = average > 0 && config.train.ema_norm_batches > 0;
        let left = if recalibrates { recalibrated_bytes } else { resting_bytes };
        let rest = left(&network, dims, element, config.train.checkpoint_activations)? as u64;
        (rest + validating(config, &network, (held_out, value_bytes), kernels)? + PACKED_COPIES * one)
            .saturating_sub(activations)
    } else {
        0
    };
    let data = cached + batch * (config.data.prefetch as u64 + 1);
    Ok(MemoryEstimate { activations, working, parameters, data, validation })
}

/// What one image takes that is validated whole, cut into tiles where it is larger than one.
fn validating(
    config: &RunConfig,
    network: &UNetConfig,
    ((width, height), value_bytes): ((usize, usize), usize),
    kernels: Kernels,
) -> Result<u64, TrainError> {
    let (channels, logits) = (network.in_channels as u64, network.out_channels as u64);
    let precision = config.train.precision.on(&kernels);
    let tiles = Tiling::default().for_network(network, precision).cut(height, width);
    let margin = 2 * geometry::margin(network);
    let seen = |spans: &[Span]| geometry::output_side(network, spans.first().map_or(0, |s| s.len)) + margin;
    let tile = Dims::new(1, seen(&tiles.rows), seen(&tiles.columns), network.in_channels);
    let maps = inference_bytes(network, tile, precision.bytes())? as u64;
    let pixels = (width * height) as u64;
    // The image and its mask, as they are and as floats, and the logits.
    let (decoded, normalised, whole) =
        ((channels * value_bytes as u64 + 1) * pixels, 4 * channels * pixels, 4 * logits * pixels);
    // A tile and its logits, and the rows that are being put together, with their weights: the old ones while there is no room for more.
    let put_together = match tiles.len() {
        1 => 0,
        _ => {
            4 * (channels + logits) * tile.pixels() as u64 + 2 * 4 * (logits + 1) * (tile.h.min(height) * width) as u64
        }
    };
    let computed = normalised + put_together;
    // Probabilities, labels, and those of a loss of regions, which it keeps; gray values, then colours.
    let of_regions =
        !matches!(config.loss, LossConfig::Auto | LossConfig::Bce { .. } | LossConfig::CrossEntropy { .. });
    let kept = if of_regions { whole } else { 0 };
    let drawn = if config.train.samples > 0 { (4 * channels + 4).max(OVERLAY) * pixels } else { 0 };
    // Several logits become planes, beside what they are made of.
    let planes = if logits > 1 { whole } else { 0 };
    let scored = kept + whole + planes.max(pixels + drawn);
    Ok(maps + decoded + whole + computed.max(scored))
}

/// The estimate for a dataset; an error where it is more than the system can give, unless the configuration says not to look.
pub(crate) fn check(config: &RunConfig, images: &ImageFacts) -> Result<MemoryEstimate, TrainError> {
    let needed = estimate(config, images)?;
    match available() {
        Some(available) if config.train.memory_check && needed.total() > available => {
            let advice = advice(config, images, available);
            Err(TrainError::Memory { needed: needed.total(), available, advice })
        }
        _ => Ok(needed),
    }
}

/// Changes that make it fit, the gentlest first.
fn advice(config: &RunConfig, images: &ImageFacts, available: u64) -> String {
    let fits = |c: &RunConfig| match estimate(c, images) {
        Ok(e) if e.total() <= available => Some(e.total() >> 20),
        _ => None,
    };
    let halvings = |from: usize, least: usize| {
        std::iter::successors(Some(from / 2), |n| Some(n / 2)).take_while(|n| *n >= least).collect::<Vec<_>>()
    };
    let side = if config.data.patch > 0 {
        config.data.patch
    } else {
        images.train.iter().map(|(w, h)| (*w).max(*h)).max().unwrap_or(0).next_power_of_two()
    };
    type Change = fn(&mut RunConfig, usize);
    let once = if config.train.checkpoint_activations { vec![] } else { vec![1] };
    let changes: [(&str, Vec<usize>, Change); 4] = [
        ("--checkpoint-activations", once, |c, _| c.train.checkpoint_activations = true),
        ("--batch-size", halvings(config.train.batch_size, 1), |c, n| c.train.batch_size = n),
        ("--patch", halvings(side, 1 << config.model.depth), |c, n| c.data.patch = n),
        ("--width", halvings(config.model.width, 1), |c, n| c.model.width = n),
    ];
    let found: Vec<String> = changes
        .into_iter()
        .filter_map(|(flag, values, set)| {
            let (n, mib) = values.into_iter().find_map(|n| {
                let mut changed = config.clone();
                set(&mut changed, n);
                fits(&changed).map(|mib| (n, mib))
            })?;
            let value = if flag == "--checkpoint-activations" { String::new() } else { format!(" {n}") };
            Some(format!("{flag}{value} needs {mib} MiB"))
        })
        .collect();
    match found.is_empty() {
        true => "use smaller batches of smaller patches in a narrower network".to_owned(),
        false => found.join(", "),
    }
}

/// Bytes that the system can still give to this process, where it says so.
#[cfg(target_os = "linux")]
pub(crate) fn available() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    // A container may be given less than the machine has: control groups of version 2, then 1.
    let group = |limit: &str, used: &str| Some(number(limit)?.saturating_sub(number(used)?));
    let groups = [
        group("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        group("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ];
    groups.into_iter().flatten().chain(available_in(&meminfo)).min()
}

/// Other systems do not say without foreign code: nothing is refused there.
#[cfg(not(target_os = "linux"))]
pub(crate) fn available() -> Option<u64> {
    None
}

/// Free and reclaimable memory and free swap, in bytes.
#[cfg(target_os = "linux")]
fn available_in(meminfo: &str) -> Option<u64> {
    let kilobytes = |key: &str| {
        let line = meminfo.lines().find_map(|l| l.strip_prefix(key))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok()
    };
    Some((kilobytes("MemAvailable")? + kilobytes("SwapFree").unwrap_or(0)) << 10)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn images() -> ImageFacts {
        ImageFacts { channels: 1, classes: 2, value_bytes: 1, train: vec![(512, 512); 24], val: vec![(512, 512); 6] }
    }

    fn needs_for(text: &str, images: &ImageFacts) -> MemoryEstimate {
        estimate(&RunConfig::from_toml(text, "test", Some("quick")).unwrap(), images).unwrap()
    }

    fn needs(text: &str) -> MemoryEstimate {
        needs_for(text, &images())
    }

    #[test]
    fn decoded_images_are_counted_as_the_cache_holds_them() {
        let (pixels, plain) = (24 * 512 * 512, needs("").data);
        let of = |value_bytes| needs_for("", &ImageFacts { value_bytes, ..images() }).data - plain;
        assert_eq!((of(2), of(4)), (pixels, 3 * pixels));
        // Three batches of two patches of 256×256 have weights, too.
        let weighted = needs("data.prefetch = 2\ndata.weight_map = { w0 = 10.0, sigma = 5.0, balance = true }").data;
        assert_eq!(weighted - needs("data.prefetch = 2").data, 4 * (pixels + 3 * 2 * 256 * 256));
    }

    #[test]
    fn the_largest_image_that_is_held_out_counts_not_the_largest_that_trains() {
        let of = |side| needs_for("", &ImageFacts { val: vec![(64, 64), (side, side)], ..images() }).validation;
        assert!(of(4096) > of(2048) && of(2048) > of(512));
        assert_eq!(needs_for("", &ImageFacts { val: vec![], ..images() }).validation, 0);
    }

    #[test]
    fn what_makes_a_run_larger_makes_the_estimate_larger() {
        let plain = needs("");
        assert!(needs("train.batch_size = 4").activations > plain.activations);
        assert!(needs("model.width = 32").parameters > plain.parameters);
        assert!(needs("train.accumulate = 2").parameters > plain.parameters);
        assert!(needs("train.ema_decay = 0.0").parameters < plain.parameters);
        assert!(needs("optimizer.kind = 'sgd'").parameters < plain.parameters);
        assert!(needs("data.cache_mib = 0").data < plain.data);
        let bf16 = needs("train.precision = 'bf16'").activations as f64;
        assert!(bf16 < 0.55 * plain.activations as f64, "{bf16}");
        let checkpointed = needs("train.checkpoint_activations = true").activations as f64;
        assert!(checkpointed < 0.75 * plain.activations as f64, "{checkpointed}");
    }

    #[test]
    fn advice_names_flags_that_fit() {
        let config = RunConfig::from_toml("data.patch = 512\nmodel.width = 64", "test", Some("quick")).unwrap();
        let images = images();
        let needed = estimate(&config, &images).unwrap().total();
        let text = advice(&config, &images, needed / 2);
        assert!(text.contains("--patch ") && text.contains("--width ") && text.contains("MiB"), "{text}");
        let text = advice(&config, &images, needed * 9 / 10);
        assert!(text.starts_with("--checkpoint-activations needs "), "{text}");
        assert!(advice(&config, &images, 0).contains("smaller"), "nothing fits");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_says_what_it_has() {
        let text = "MemTotal:  100 kB\nMemAvailable:     64 kB\nSwapFree:   8 kB\n";
        assert_eq!(available_in(text), Some(72 << 10));
        assert!(available().unwrap() > 1 << 20);
    }
}

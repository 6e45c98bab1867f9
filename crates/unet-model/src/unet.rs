//! The whole network on one page (Ronneberger, Fischer & Brox 2015, with padded convolutions and batch norm, in the widely
//! used layout of `milesial/Pytorch-UNet`). What a layer *does* is a [`Backend`]'s business; this page says which layers
//! there are, what they are called and how they are joined.

use crate::config::{UNetConfig, Upsampling};
use crate::options::Norm;

/// A convolution, a norm (batch norm where nothing else is said) and a rectifier. Names are PyTorch's: `{conv}.weight`,
/// `{norm}.running_mean` …
#[derive(Clone, Debug, PartialEq)]
pub struct ConvNorm {
    /// Path of the convolution's `weight` (out, in, kernel, kernel) and, if it has one, `bias`.
    pub conv: String,
    /// Path of the norm's `weight`, `bias`, and of batch norm's `running_mean`, `running_var`.
    pub norm: String,
    /// Channels in.
    pub cin: usize,
    /// Channels out.
    pub cout: usize,
    /// Side of the kernel: 3, or 1 on the way around a residual block.
    pub kernel: usize,
    /// Zeros around its input on each side: 1, or 0 for a kernel of 1 and without padding.
    pub pad: usize,
    /// 2 takes every second pixel of every second row, in place of a pool.
    pub stride: usize,
    /// Whether the convolution has a bias.
    pub bias: bool,
    /// What its values are made even by.
    pub kind: Norm,
    /// What negative values are multiplied by behind the norm: 0 is ReLU, 1 no rectifier.
    pub slope: f32,
}

impl ConvNorm {
    /// Whether it is the plain U-Net's: batch norm and ReLU.
    pub fn is_plain(&self) -> bool {
        self.kind == Norm::Batch && self.slope == 0.0 && self.stride == 1
    }

    /// Whether its convolution has a bias that changes something.
    pub fn adds_bias(&self) -> bool {
        self.bias && !self.kind.cancels_bias()
    }
}

/// How a decoder block doubles its map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Up {
    /// Bilinear, no parameters.
    Bilinear,
    /// A 2×2 transposed convolution with stride 2.
    Transposed {
        /// Path of its `weight` (in, out, 2, 2) and `bias`.
        path: String,
        /// Channels in.
        cin: usize,
        /// Channels out.
        cout: usize,
    },
}

/// The final 1×1 convolution, from features to logits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Path of its `weight` (out, in, 1, 1) and `bias`.
    pub path: String,
    /// Channels in.
    pub cin: usize,
    /// Logits per pixel.
    pub cout: usize,
}

/// The few coarse operations that a U-Net is made of. An interpreter implements them once.
pub trait Backend {
    /// A feature map, or whatever stands for one.
    type Map;
    /// The network's result.
    type Logits;
    /// What can go wrong.
    type Error;

    /// Convolution, norm, rectifier.
    ///
    /// # Errors
    /// The interpreter's own.
    fn conv_norm_relu(&mut self, layer: &ConvNorm, x: Self::Map) -> Result<Self::Map, Self::Error>;

    /// A layer's output of an `x` that goes on: what goes around a residual block (`x` as it is, where there is no layer), or a strided
    /// convolution beside the skip connection.
    ///
    /// # Errors
    /// The interpreter's own.
    fn beside(&mut self, layer: Option<&ConvNorm>, x: &Self::Map) -> Result<Self::Map, Self::Error>;

    /// The end of a residual block: what came through it and what came around it, added and rectified with that slope.
    ///
    /// # Errors
    /// The interpreter's own.
    fn add(&mut self, slope: f32, x: Self::Map, around: Self::Map) -> Result<Self::Map, Self::Error>;

    /// Dropout with that rate, in training.
    ///
    /// # Errors
    /// The interpreter's own.
    fn dropout(&mut self, rate: f32, x: Self::Map) -> Result<Self::Map, Self::Error>;

    /// 2×2 max-pool; the input goes on as the skip connection.
    ///
    /// # Errors
    /// The interpreter's own.
    fn max_pool(&mut self, x: &Self::Map) -> Result<Self::Map, Self::Error>;

    /// Doubles `x` and puts its channels after those of `skip`: centred on its size, zeros around it, or with `crop` after those of the
    /// middle of `skip`.
    ///
    /// # Errors
    /// The interpreter's own.
    fn up_concat(&mut self, up: &Up, crop: bool, x: Self::Map, skip: Self::Map) -> Result<Self::Map, Self::Error>;

    /// The logits of a level of the decoder, for deep supervision, or at level 0 for affinities; `x` goes on.
    ///
    /// # Errors
    /// The interpreter's own.
    fn side_head(&mut self, level: usize, layer: &Head, x: &Self::Map) -> Result<(), Self::Error>;

    /// The logits.
    ///
    /// # Errors
    /// The interpreter's own.
    fn head(&mut self, layer: &Head, x: Self::Map) -> Result<Self::Logits, Self::Error>;
}

/// Runs the network described by `config` on `x`: (N, H, W, in_channels) to (N, H, W, out_channels), in whatever layout the
/// backend keeps its maps.
///
/// # Errors
/// The backend's own.
pub fn forward<B: Backend>(config: &UNetConfig, b: &mut B, x: B::Map) -> Result<B::Logits, B::Error> {
    // Encoder: level 0 at full size, each level below at half of it.
    let mut skips = Vec::with_capacity(config.depth);
    let block = |name: String, cin, mid, cout| Block { name, cin, mid, cout, config };
    let mut x = double_conv(b, &block("inc".into(), config.in_channels, config.width, config.width), x)?;
    for level in 1..=config.depth {
        let (cin, cout) = (config.encoder_channels(level - 1), config.encoder_channels(level));
        let block = block(format!("down{level}.maxpool_conv.1"), cin, cout, cout);
        if config.options.strided {
            let (first, second) = block.layers();
            let halved = b.beside(Some(&ConvNorm { stride: 2, ..first }), &x)?;
            skips.push(std::mem::replace(&mut x, halved));
            x = b.conv_norm_relu(&second, x)?;
        } else {
            let pooled = b.max_pool(&x)?;
            skips.push(std::mem::replace(&mut x, pooled));
            x = double_conv(b, &block, x)?;
        }
    }
    if config.options.dropout > 0.0 {
        x = b.dropout(config.options.dropout, x)?;
    }
    // Decoder: back up, joined with what the encoder saw at that size.
    let mut channels = config.encoder_channels(config.depth);
    while let Some(skip) = skips.pop() {
        let level = skips.len();
        let name = format!("up{}", config.depth - level);
        let skip_channels = config.encoder_channels(level);
        let up = up(config.upsampling, &name, channels, skip_channels);
        let joined = skip_channels + up.out_channels(channels);
        x = b.up_concat(&up, config.options.valid, x, skip)?;
        channels = config.decoder_channels(level);
        let mid = match config.upsampling {
            Upsampling::BilinearWide => joined / 2,
            Upsampling::Bilinear | Upsampling::Transposed => channels,
        };
        x = double_conv(b, &block(format!("{name}.conv"), joined, mid, channels), x)?;
        if (1..config.deep_weights().len()).contains(&level) {
            let path = format!("aux{level}.conv");
            b.side_head(level, &Head { path, cin: channels, cout: config.out_channels }, &x)?;
        }
    }
    let affinities = config.options.affinities;
    if affinities > 0 {
        b.side_head(0, &Head { path: "affinity.conv".into(), cin: channels, cout: affinities }, &x)?;
    }
    b.head(&Head { path: "outc.conv".into(), cin: channels, cout: config.out_channels }, x)
}

/// Two convolutions in a row.
struct Block<'a> {
    name: String,
    cin: usize,
    mid: usize,
    cout: usize,
    config: &'a UNetConfig,
}

impl Block<'_> {
    /// Its two 3×3 layers; the second of a residual block is rectified after the sum.
    fn layers(&self) -> (ConvNorm, ConvNorm) {
        let options = &self.config.options;
        let last = if options.residual { 1.0 } else { options.negative_slope };
        let first = self.layer(0, self.cin, self.mid, (3, options.negative_slope));
        (first, self.layer(3, self.mid, self.cout, (3, last)))
    }

    /// The layer whose convolution is number `at` of the block, its norm the next.
    fn layer(&self, at: usize, cin: usize, cout: usize, (kernel, slope): (usize, f32)) -> ConvNorm {
        let norm = at + 1;
        let name = format!("{}.{}", self.name, if kernel == 1 { "shortcut" } else { "double_conv" });
        let kind = self.config.options.norm;
        let bias = self.config.conv_bias;
        let pad = if self.config.options.valid { 0 } else { kernel / 2 };
        ConvNorm {
            conv: format!("{name}.{at}"),
            norm: format!("{name}.{norm}"),
            cin,
            cout,
            kernel,
            pad,
            stride: 1,
            bias,
            kind,
            slope,
        }
    }
}

/// (convolution → norm → rectifier) twice; a residual block adds its input ahead of the second rectifier.
fn double_conv<B: Backend>(b: &mut B, block: &Block<'_>, x: B::Map) -> Result<B::Map, B::Error> {
    let (slope, residual) = (block.config.options.negative_slope, block.config.options.residual);
    let (first, second) = block.layers();
    if !residual {
        let x = b.conv_norm_relu(&first, x)?;
        return b.conv_norm_relu(&second, x);
    }
    let projection = block.layer(0, block.cin, block.cout, (1, 1.0));
    let around = b.beside((block.cin != block.cout).then_some(&projection), &x)?;
    let x = b.conv_norm_relu(&first, x)?;
    let x = b.conv_norm_relu(&second, x)?;
    b.add(slope, x, around)
}

fn up(kind: Upsampling, name: &str, channels: usize, skip_channels: usize) -> Up {
    match kind {
        Upsampling::Bilinear | Upsampling::BilinearWide => Up::Bilinear,
        Upsampling::Transposed => Up::Transposed { path: format!("{name}.up"), cin: channels, cout: skip_channels },
    }
}

impl Up {
    /// Channels after it, for `channels` before it.
    pub const fn out_channels(&self, channels: usize) -> usize {
        match self {
            Up::Bilinear => channels,
            Up::Transposed { cout, .. } => *cout,
        }
    }
}

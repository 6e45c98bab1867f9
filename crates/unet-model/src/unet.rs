//! The whole network on one page (Ronneberger, Fischer & Brox 2015, with padded convolutions and batch norm, in the widely
//! used layout of `milesial/Pytorch-UNet`). What a layer *does* is a [`Backend`]'s business; this page says which layers
//! there are, what they are called and how they are joined.

use crate::config::{UNetConfig, Upsampling};

/// A 3×3 convolution, batch norm and ReLU. Names are PyTorch's: `{conv}.weight`, `{norm}.running_mean` …
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvNorm {
    /// Path of the convolution's `weight` (out, in, 3, 3) and, if it has one, `bias`.
    pub conv: String,
    /// Path of the batch norm's `weight`, `bias`, `running_mean`, `running_var`.
    pub norm: String,
    /// Channels in.
    pub cin: usize,
    /// Channels out.
    pub cout: usize,
    /// Whether the convolution has a bias.
    pub bias: bool,
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

    /// Convolution, batch norm, ReLU.
    ///
    /// # Errors
    /// The interpreter's own.
    fn conv_norm_relu(&mut self, layer: &ConvNorm, x: Self::Map) -> Result<Self::Map, Self::Error>;

    /// 2×2 max-pool; the input goes on as the skip connection.
    ///
    /// # Errors
    /// The interpreter's own.
    fn max_pool(&mut self, x: &Self::Map) -> Result<Self::Map, Self::Error>;

    /// Doubles `x`, centres it on the size of `skip` (zeros around it), and puts its channels after those of `skip`.
    ///
    /// # Errors
    /// The interpreter's own.
    fn up_concat(&mut self, up: &Up, x: Self::Map, skip: Self::Map) -> Result<Self::Map, Self::Error>;

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
    let block = |name: String, cin, mid, cout| Block { name, cin, mid, cout, bias: config.conv_bias };
    let mut x = double_conv(b, &block("inc".into(), config.in_channels, config.width, config.width), x)?;
    for level in 1..=config.depth {
        let pooled = b.max_pool(&x)?;
        skips.push(std::mem::replace(&mut x, pooled));
        let (cin, cout) = (config.encoder_channels(level - 1), config.encoder_channels(level));
        x = double_conv(b, &block(format!("down{level}.maxpool_conv.1"), cin, cout, cout), x)?;
    }
    // Decoder: back up, joined with what the encoder saw at that size.
    let mut channels = config.encoder_channels(config.depth);
    while let Some(skip) = skips.pop() {
        let level = skips.len();
        let name = format!("up{}", config.depth - level);
        let skip_channels = config.encoder_channels(level);
        let up = up(config.upsampling, &name, channels);
        let joined = skip_channels + up.out_channels(channels);
        x = b.up_concat(&up, x, skip)?;
        channels = config.decoder_channels(level);
        let mid = match config.upsampling {
            Upsampling::BilinearWide => joined / 2,
            Upsampling::Bilinear | Upsampling::Transposed => channels,
        };
        x = double_conv(b, &block(format!("{name}.conv"), joined, mid, channels), x)?;
    }
    b.head(&Head { path: "outc.conv".into(), cin: channels, cout: config.out_channels }, x)
}

/// Two convolutions in a row.
struct Block {
    name: String,
    cin: usize,
    mid: usize,
    cout: usize,
    bias: bool,
}

/// (convolution → batch norm → ReLU) twice.
fn double_conv<B: Backend>(b: &mut B, block: &Block, x: B::Map) -> Result<B::Map, B::Error> {
    let layer = |at: usize, cin, cout| ConvNorm {
        conv: format!("{}.double_conv.{at}", block.name),
        norm: format!("{}.double_conv.{}", block.name, at + 1),
        cin,
        cout,
        bias: block.bias,
    };
    let x = b.conv_norm_relu(&layer(0, block.cin, block.mid), x)?;
    b.conv_norm_relu(&layer(3, block.mid, block.cout), x)
}

fn up(kind: Upsampling, name: &str, channels: usize) -> Up {
    match kind {
        Upsampling::Bilinear | Upsampling::BilinearWide => Up::Bilinear,
        Upsampling::Transposed => Up::Transposed { path: format!("{name}.up"), cin: channels, cout: channels / 2 },
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

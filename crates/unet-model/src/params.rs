//! The network's named parameters: which there are (an interpreter of the network lists them), and the Candle `Var`s that hold
//! them, f32 on the CPU under PyTorch's names, so that any Candle code can use them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Storage, Tensor, Var};

use crate::ModelError;
use crate::config::UNetConfig;
use crate::options::Norm;
use crate::unet::{Backend, ConvNorm, Head, Up, forward};

/// What a parameter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// A convolution's kernel: OIHW, or (in, out, 2, 2) when transposed.
    Kernel,
    /// A convolution's bias.
    Bias,
    /// A norm's γ.
    NormScale,
    /// A norm's β.
    NormShift,
    /// A batch norm's running mean: not trained.
    RunningMean,
    /// A batch norm's running (unbiased) variance: not trained.
    RunningVar,
}

impl ParamKind {
    /// Whether a gradient is computed for it.
    pub const fn is_trained(self) -> bool {
        !matches!(self, Self::RunningMean | Self::RunningVar)
    }
}

/// A parameter's name, extents and purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamSpec {
    /// PyTorch's name, as `inc.double_conv.0.weight`.
    pub name: String,
    /// Extents in PyTorch's order.
    pub shape: Vec<usize>,
    /// What it is for.
    pub kind: ParamKind,
    /// Inputs that each output sums over, as PyTorch's initialisation counts them.
    pub fan_in: usize,
}

impl ParamSpec {
    /// Values in it.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Every parameter of the network, in the order of PyTorch's `state_dict`.
pub fn param_specs(config: &UNetConfig) -> Vec<ParamSpec> {
    let mut listing = Listing(Vec::new());
    let Ok(()) = forward(config, &mut listing, ());
    // A decoder block's `up` stands before its `conv`, and all in the order in which the network runs: PyTorch's own.
    listing.0
}

/// The interpreter that computes nothing and writes down what it meets.
struct Listing(Vec<ParamSpec>);

impl Listing {
    fn push(&mut self, name: String, shape: &[usize], kind: ParamKind, fan_in: usize) {
        self.0.push(ParamSpec { name, shape: shape.to_vec(), kind, fan_in });
    }

    fn conv(&mut self, path: &str, shape: [usize; 4], bias: Option<usize>, fan_in: usize) {
        self.push(format!("{path}.weight"), &shape, ParamKind::Kernel, fan_in);
        if let Some(channels) = bias {
            self.push(format!("{path}.bias"), &[channels], ParamKind::Bias, fan_in);
        }
    }
}

impl Backend for Listing {
    type Map = ();
    type Logits = ();
    type Error = std::convert::Infallible;

    fn conv_norm_relu(&mut self, l: &ConvNorm, (): ()) -> Result<(), Self::Error> {
        let fan_in = l.cin * l.kernel * l.kernel;
        self.conv(&l.conv, [l.cout, l.cin, l.kernel, l.kernel], l.bias.then_some(l.cout), fan_in);
        let all = [
            ("weight", ParamKind::NormScale),
            ("bias", ParamKind::NormShift),
            ("running_mean", ParamKind::RunningMean),
            ("running_var", ParamKind::RunningVar),
        ];
        let has = match l.kind {
            Norm::Batch => 4,
            Norm::Instance | Norm::Group(_) => 2,
            Norm::None => 0,
        };
        for (name, kind) in all.into_iter().take(has) {
            self.push(format!("{}.{name}", l.norm), &[l.cout], kind, 0);
        }
        Ok(())
    }

    fn beside(&mut self, layer: Option<&ConvNorm>, (): &()) -> Result<(), Self::Error> {
        layer.map_or(Ok(()), |l| self.conv_norm_relu(l, ()))
    }

    fn add(&mut self, _: f32, (): (), (): ()) -> Result<(), Self::Error> {
        Ok(())
    }

    fn dropout(&mut self, _: f32, (): ()) -> Result<(), Self::Error> {
        Ok(())
    }

    fn max_pool(&mut self, (): &()) -> Result<(), Self::Error> {
        Ok(())
    }

    fn up_concat(&mut self, up: &Up, _: bool, (): (), (): ()) -> Result<(), Self::Error> {
        if let Up::Transposed { path, cin, cout } = up {
            // PyTorch counts a transposed kernel's second extent as its inputs.
            self.conv(path, [*cin, *cout, 2, 2], Some(*cout), cout * 4);
        }
        Ok(())
    }

    fn side_head(&mut self, _: usize, l: &Head, (): &()) -> Result<(), Self::Error> {
        self.head(l, ())
    }

    fn head(&mut self, l: &Head, (): ()) -> Result<(), Self::Error> {
        self.conv(&l.path, [l.cout, l.cin, 1, 1], Some(l.cout), l.cin);
        Ok(())
    }
}

/// The parameters and running statistics of one network.
#[derive(Debug)]
pub struct Parameters {
    specs: Vec<ParamSpec>,
    vars: BTreeMap<String, Var>,
    version: u64,
}

impl Parameters {
    /// Parameters whose values `init` draws, asked in the order of [`param_specs`].
    ///
    /// # Errors
    /// Candle cannot allocate them.
    pub fn new(config: &UNetConfig, mut init: impl FnMut(&ParamSpec) -> Vec<f32>) -> Result<Self, ModelError> {
        let specs = param_specs(config);
        let mut vars = BTreeMap::new();
        for spec in &specs {
            let tensor = Tensor::from_vec(init(spec), spec.shape.as_slice(), &Device::Cpu)?;
            vars.insert(spec.name.clone(), Var::from_tensor(&tensor)?);
        }
        Ok(Self { specs, vars, version: fresh_version() })
    }

    /// What there is, in the order of PyTorch's `state_dict`.
    pub fn specs(&self) -> &[ParamSpec] {
        &self.specs
    }

    /// Name and purpose of those that are trained, in the same order.
    pub fn trained(&self) -> impl Iterator<Item = &ParamSpec> {
        self.specs.iter().filter(|s| s.kind.is_trained())
    }

    /// Values in all of those that are trained.
    pub fn trained_len(&self) -> usize {
        self.trained().map(ParamSpec::len).sum()
    }

    /// A number that changes with the values, and that no other parameters of this process ever have: what is derived from the values knows
    /// by it when it is stale, or another network's.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The `Var` of that name. Writing to it behind this struct's back needs [`Self::mark_changed`] afterwards.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn var(&self, name: &str) -> Result<&Var, ModelError> {
        find(&self.vars, name)
    }

    /// Says that values were changed through the `Var`s themselves.
    pub fn mark_changed(&mut self) {
        self.version = fresh_version();
    }

    /// Shows the values of one parameter to `f`.
    ///
    /// # Errors
    /// There is none of that name, or it was replaced by something that is not f32 on the CPU.
    pub fn read<R>(&self, name: &str, f: impl FnOnce(&[f32]) -> R) -> Result<R, ModelError> {
        let (storage, layout) = self.var(name)?.storage_and_layout();
        match (&*storage, layout.contiguous_offsets()) {
            (Storage::Cpu(CpuStorage::F32(v)), Some((from, to))) => Ok(f(&v[from..to])),
            _ => Err(not_plain(name, "read")),
        }
    }

    /// Lets `f` change the values of one parameter in place.
    ///
    /// # Errors
    /// There is none of that name, or it was replaced by something that is not f32 on the CPU.
    pub fn write<R: Send>(&mut self, name: &str, f: impl FnOnce(&mut [f32]) -> R + Send) -> Result<R, ModelError> {
        self.writer().write(name, f)
    }

    /// What changes values from several threads at once. It counts as one change, whatever it writes.
    pub fn writer(&mut self) -> Writer<'_> {
        self.mark_changed();
        Writer { vars: &self.vars }
    }

    /// A copy of one parameter's values.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn to_vec(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        self.read(name, <[f32]>::to_vec)
    }

    /// Replaces one parameter's values.
    ///
    /// # Errors
    /// As [`Self::write`], or another number of values.
    pub fn set(&mut self, name: &str, values: &[f32]) -> Result<(), ModelError> {
        self.write(name, |v| match v.len() == values.len() {
            true => {
                v.copy_from_slice(values);
                Ok(())
            }
            false => Err(ModelError::Length { name: name.to_owned(), expected: v.len(), found: values.len() }),
        })?
    }
}

/// Changes values in place, on any thread: see [`Parameters::writer`].
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    vars: &'a BTreeMap<String, Var>,
}

impl Writer<'_> {
    /// As [`Parameters::write`]. While `f` runs, whoever else would write the same parameter waits.
    ///
    /// # Errors
    /// As [`Parameters::write`].
    pub fn write<R: Send>(&self, name: &str, f: impl FnOnce(&mut [f32]) -> R + Send) -> Result<R, ModelError> {
        let op = WriteOp(Mutex::new((Some(f), None)));
        find(self.vars, name)?.inplace_op1(&op)?;
        let (_, result) = op.0.into_inner().map_err(|_| not_plain(name, "written"))?;
        result.ok_or_else(|| not_plain(name, "written"))
    }
}

fn find<'a>(vars: &'a BTreeMap<String, Var>, name: &str) -> Result<&'a Var, ModelError> {
    vars.get(name).ok_or_else(|| ModelError::UnknownParameter(name.to_owned()))
}

/// A number that was not given out before.
fn fresh_version() -> u64 {
    static LATEST: AtomicU64 = AtomicU64::new(0);
    LATEST.fetch_add(1, Ordering::Relaxed)
}

fn not_plain(name: &str, verb: &str) -> ModelError {
    ModelError::Candle(candle_core::Error::Msg(format!(
        "'{name}' cannot be {verb}: it is not {:?} on the CPU",
        DType::F32
    )))
}

/// Hands a closure the values of a `Var`, in place.
struct WriteOp<F, R>(Mutex<(Option<F>, Option<R>)>);

impl<R, F: FnOnce(&mut [f32]) -> R> InplaceOp1 for WriteOp<F, R> {
    fn name(&self) -> &'static str {
        "write"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let refused = || candle_core::Error::Msg("a parameter is f32 and contiguous".into());
        let CpuStorage::F32(values) = storage else { return Err(refused()) };
        let (from, to) = layout.contiguous_offsets().ok_or_else(refused)?;
        let mut slot = self.0.lock().map_err(|_| refused())?;
        if let Some(f) = slot.0.take() {
            slot.1 = Some(f(&mut values[from..to]));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Upsampling;

    #[test]
    fn names_and_shapes_are_pytorchs() {
        let specs = param_specs(&UNetConfig::tutorial());
        let names: Vec<_> = specs.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names[0], "inc.double_conv.0.weight");
        assert!(names.contains(&"down4.maxpool_conv.1.double_conv.4.running_var"));
        assert!(names.contains(&"up1.conv.double_conv.3.bias"));
        assert_eq!(names.last(), Some(&"outc.conv.bias"));
        let trained = |config: &UNetConfig| -> usize {
            param_specs(config).iter().filter(|s| s.kind.is_trained()).map(ParamSpec::len).sum()
        };
        assert_eq!(trained(&UNetConfig::tutorial()), 13_394_177, "the article's network in PyTorch");
        assert_eq!(trained(&UNetConfig::milesial(3, 2)), 31_037_698, "milesial's network in PyTorch");
        let wide = UNetConfig { upsampling: Upsampling::BilinearWide, ..UNetConfig::milesial(3, 2) };
        assert_eq!(trained(&wide), 17_263_042, "milesial's bilinear network in PyTorch");
        let trained: usize =
            param_specs(&UNetConfig::milesial(3, 2)).iter().filter(|s| s.kind.is_trained()).map(ParamSpec::len).sum();
        assert_eq!(trained, 31_037_698, "milesial's network in PyTorch");
    }

    #[test]
    fn values_are_read_and_written_in_place() -> Result<(), ModelError> {
        let config = UNetConfig { width: 2, depth: 1, ..UNetConfig::tutorial() };
        let mut params = Parameters::new(&config, |s| vec![1.0; s.len()])?;
        let (before, other) = (params.version(), Parameters::new(&config, |s| vec![1.0; s.len()])?);
        params.write("outc.conv.weight", |v| v[0] = 3.0)?;
        assert_eq!(params.to_vec("outc.conv.weight")?, [3.0, 1.0]);
        assert!(params.version() != before && params.version() != other.version());
        assert!(params.set("outc.conv.weight", &[0.0]).is_err());
        assert!(matches!(params.read("nope", |_| ()), Err(ModelError::UnknownParameter(_))));
        Ok(())
    }

    #[test]
    fn several_threads_write_at_once() -> Result<(), ModelError> {
        let config = UNetConfig { width: 2, depth: 1, ..UNetConfig::tutorial() };
        let mut params = Parameters::new(&config, |s| vec![0.0; s.len()])?;
        let names: Vec<String> = params.specs().iter().map(|s| s.name.clone()).collect();
        let (before, writer) = (params.version(), params.writer());
        std::thread::scope(|scope| {
            let add = || names.iter().try_for_each(|n| writer.write(n, |v| v.iter_mut().for_each(|v| *v += 1.0)));
            let threads = [(); 4].map(|()| scope.spawn(add));
            threads.into_iter().try_for_each(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        assert!(matches!(writer.write("nope", |_| ()), Err(ModelError::UnknownParameter(_))));
        assert_ne!(params.version(), before);
        for name in names {
            assert!(params.to_vec(&name)?.iter().all(|v| *v == 4.0), "{name}");
        }
        Ok(())
    }
}

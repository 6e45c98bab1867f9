//! A folder to work in, tiny data, and the real binary run there: what the command-line tests share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use unet_data::codec::write_png;
use unet_data::{Image, Pixels};

/// Width and height of the images: no multiples of anything.
pub const SIZE: (usize, usize) = (45, 37);
/// How many.
pub const IMAGES: usize = 4;

/// Settings under which an epoch takes a fraction of a second.
pub const TINY: &str = "
recipe = 'quick'
[model]
width = 2
depth = 1
[data]
patch = 16
samples_per_epoch = 4
[train]
epochs = 2
batch_size = 2
samples = 1
threads = 1
";

/// A temporary folder that commands run in.
pub struct Desk(tempfile::TempDir);

/// How a command ended, as text.
pub struct Ended {
    /// Exit status.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Desk {
    /// An empty one.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// One with data in `data/` and settings in `tiny.toml`.
    pub fn with_data() -> Self {
        let desk = Self::new();
        desk.write("tiny.toml", TINY);
        desk.dataset("data");
        desk
    }

    /// One with a trained `run/`, too.
    pub fn with_run() -> Self {
        let desk = Self::with_data();
        let ended = desk.unet(&["train", "data", "--config", "tiny.toml", "--val", "3..4", "--out", "run"]);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        desk
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, and its folder where there is none.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).expect("a folder");
        }
        std::fs::write(path, content).expect("written");
    }

    /// Reads a text file.
    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a text file")
    }

    /// Writes `image/N.png` and `label/N.png` into `name`: bright discs on a dark ground, both uneven.
    pub fn dataset(&self, name: &str) {
        for i in 0..IMAGES {
            let inside = |p: usize| (p % SIZE.0).abs_diff(15 + 4 * i).pow(2) + (p / SIZE.0).abs_diff(18).pow(2) < 150;
            let pixels = 0..SIZE.0 * SIZE.1;
            let image = pixels.clone().map(|p| if inside(p) { 150 } else { 40 } + ((p * 37 + i * 11) % 61) as u8);
            let mask = pixels.map(|p| if inside(p) { 255 } else { 0 });
            for (folder, values) in [("image", image.collect()), ("label", mask.collect::<Vec<u8>>())] {
                let image = Image::new(SIZE.0, SIZE.1, 1, Pixels::U8(values)).expect("an image");
                self.png(&format!("{name}/{folder}/{i}.png"), &image);
            }
        }
    }

    /// Writes an image.
    pub fn png(&self, name: &str, image: &Image) {
        self.write(name, "");
        write_png(&self.path(name), image).expect("written");
    }

    /// Names in a folder, sorted.
    pub fn list(&self, name: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(name)).expect("a folder");
        let mut names: Vec<_> =
            entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Steps that the newest state of a run has behind it; 0 without one. The file is only ever replaced as a whole.
    pub fn saved_steps(&self, run: &str) -> u64 {
        let Ok(bytes) = std::fs::read(self.path(run).join("checkpoints/last.state.safetensors")) else { return 0 };
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
        let state = header["__metadata__"]["unet_state"].as_str().expect("what it says of the run");
        let state: Value = serde_json::from_str(state).expect("JSON");
        state["steps"].as_u64().expect("a number")
    }

    /// Waits until the newest state of a run has more than so many steps behind it, or the run is over.
    pub fn wait_for_more(&self, run: &str, steps: u64, child: &mut Child) {
        let began = Instant::now();
        while self.saved_steps(run) <= steps && child.try_wait().expect("it can be asked").is_none() {
            assert!(began.elapsed() < Duration::from_secs(120), "no step in two minutes");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The binary, about to run here.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unet"));
        command.current_dir(self.0.path()).args(arguments).env_remove("UNET_TIER").env("UNET_CACHE", "");
        command
    }

    /// Runs the binary here.
    pub fn unet(&self, arguments: &[&str]) -> Ended {
        self.command(arguments).output().expect("it runs").into()
    }

    /// Runs it, expects exit status 1, no result, and one error that says all of `parts`; gives the error.
    pub fn fails(&self, arguments: &[&str], parts: &[&str]) -> String {
        let Ended { code, out, err } = self.unet(arguments);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{arguments:?}\n{err}");
        assert_eq!(err.matches("error: ").count(), 1, "{err}");
        for part in parts {
            assert!(err.contains(part), "{arguments:?}: no '{part}' in\n{err}");
        }
        err
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// A gray image of one value.
pub fn gray((width, height): (usize, usize), value: u8) -> Image {
    Image::new(width, height, 1, Pixels::U8(vec![value; width * height])).expect("an image")
}

/// A colour image of one value.
pub fn rgb((width, height): (usize, usize), value: u8) -> Image {
    Image::new(width, height, 3, Pixels::U8(vec![value; width * height * 3])).expect("an image")
}

/// The size of an image file, and the mask values in it.
pub fn values_of(path: &Path) -> ((usize, usize), Vec<u8>) {
    let image = unet_data::codec::read(path).expect("an image");
    let Pixels::U8(pixels) = image.pixels() else { panic!("{}: not 8 bits", path.display()) };
    let mut values = pixels.clone();
    values.sort_unstable();
    values.dedup();
    ((image.width(), image.height()), values)
}

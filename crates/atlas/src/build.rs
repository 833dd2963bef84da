//! From an extract on disk to a roads file, and back into memory.

use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::path::Path;

use wayfare_engine::roads::{BuildError, BuildStats, ExtractStats, InvalidRoads, Network, Profile};

use crate::order::nested_dissection;
use crate::pbf::{InvalidExtract, SourceInfo, read_extract};

/// Whom the data belongs to, unless the operator says otherwise.
const ATTRIBUTION: &str = "© OpenStreetMap contributors";

/// What is being done, for a progress bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// Reading the extract: share of the bytes, 0..=1.
    Reading(f64),
    /// Building the network of a profile.
    Building(Profile),
}

/// A city, built.
#[derive(Debug)]
pub struct BuiltCity {
    /// The roads file.
    pub bytes: Vec<u8>,
    /// What the extract said of itself.
    pub source: SourceInfo,
    /// What was taken from it.
    pub extract: ExtractStats,
    /// What became of it, by profile.
    pub networks: Vec<(Profile, BuildStats)>,
}

impl BuiltCity {
    /// Writes the roads file under another name first: a house may be about to open it, and a build that is interrupted leaves the
    /// old one as it was.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        let mut beside = file.as_os_str().to_owned();
        beside.push(".new");
        let mut new = File::create(&beside)?;
        new.write_all(&self.bytes)?;
        new.sync_all()?;
        std::fs::rename(&beside, file)
    }
}

/// Why a city cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildFailure {
    /// The extract cannot be read.
    #[error(transparent)]
    Extract(#[from] InvalidExtract),
    /// It gives no network.
    #[error(transparent)]
    Network(#[from] BuildError),
}

/// Builds the networks of `profiles` from an extract. Some seconds for a city and each profile.
///
/// # Errors
/// [`BuildFailure`].
pub fn build_city(
    extract: &Path,
    profiles: &[Profile],
    attribution: Option<&str>,
    mut progress: impl FnMut(Step),
) -> Result<BuiltCity, BuildFailure> {
    let size = std::fs::metadata(extract).map_err(InvalidExtract::from)?.len().max(1);
    let read = std::sync::atomic::AtomicU64::new(0);
    let open = || Ok(BufReader::new(Counted { file: File::open(extract)?, read: &read }));
    let (data, source) = read_extract(open, |_| {
        let share = read.load(std::sync::atomic::Ordering::Relaxed) as f64 / (2 * size) as f64;
        progress(Step::Reading(share.min(1.0)));
    })?;
    let (mut bytes, mut networks) = (Vec::new(), Vec::new());
    for profile in profiles {
        progress(Step::Building(*profile));
        let attribution = attribution.unwrap_or(ATTRIBUTION);
        let (network, stats) = Network::build(&data, *profile, attribution, source.data_s, nested_dissection)?;
        bytes.extend_from_slice(&network.encode());
        networks.push((*profile, stats));
    }
    Ok(BuiltCity { bytes, source, extract: data.stats(), networks })
}

/// Opens the networks of `profiles` in a roads file; all there are if `profiles` is empty.
///
/// # Errors
/// [`InvalidRoads`], or what the system says of the file.
pub fn open_city(file: &Path, profiles: &[Profile]) -> Result<Vec<Network>, crate::OpenError> {
    let failed = |why| crate::OpenError { file: file.to_owned(), why };
    let bytes = std::fs::read(file).map_err(|error| failed(crate::live::Why::Io(error)))?;
    let networks = Network::decode_all(&bytes).map_err(|error: InvalidRoads| failed(error.into()))?;
    Ok(networks.into_iter().filter(|network| profiles.is_empty() || profiles.contains(&network.profile())).collect())
}

/// A file that tells how far it was read.
struct Counted<'a> {
    file: File,
    read: &'a std::sync::atomic::AtomicU64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read.fetch_add(count as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(count)
    }
}

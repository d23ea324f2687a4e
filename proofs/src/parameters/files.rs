//! The files of parameters, as the proofs library names and reads them. It maps them into memory
//! without a look at their length, so a half-written file would be found out in the middle of a
//! proof: here a file is written beside its place, synced and renamed, and what is there already is
//! measured before it is taken for whole.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, ErrorKind, Read, Seek, Write},
    path::{Path, PathBuf},
};

use bellperson::groth16::{self, VerifyingKey, aggregate::GenericSRS};
use blstrs::Bls12;
use storage_proofs_core::parameter_cache::{
    CacheEntryMetadata, SRS_KEY_EXT, SRS_SHARED_KEY_NAME, VERSION,
};

// Bytes of a BLS12-381 point in each group; a compressed one has half of them.
const G1: u64 = 96;
const G2: u64 = 192;

// What an unfinished file's name ends in.
const PARTIAL: &str = ".partial";

/// What a directory has of a part.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// The parameters and, where the part has one, the verifying key.
    Whole,
    /// The parameters, but not the verifying key, which is derived from them.
    KeyMissing,
    /// No parameters; a verifying key alone counts for nothing.
    Missing,
    /// This file, which is no whole one.
    Broken(PathBuf),
}

/// The names of a circuit's files.
#[derive(Debug)]
pub struct GrothFiles {
    /// The parameters, for proving.
    pub parameters: String,
    /// The verifying key; the parameters begin with it.
    pub key: String,
    /// What they are for.
    pub metadata: String,
    /// The sector size in bytes, which is all that the metadata say.
    pub sector_size: u64,
}

impl GrothFiles {
    /// What the directory has of them.
    pub fn find(&self, directory: &Path) -> io::Result<Found> {
        let parameters = directory.join(&self.parameters);
        let Some(file) = open(&parameters)? else { return Ok(Found::Missing) };
        let Ok(key) = key_of_whole(file) else { return Ok(Found::Broken(parameters)) };
        // The metadata are for other programs' eyes; whoever downloads parameters gets none.
        let complete = contents(&directory.join(&self.key))? == Some(key);
        Ok(if complete { Found::Whole } else { Found::KeyMissing })
    }

    /// Writes all of them; says how many bytes the parameters have.
    pub fn keep(
        &self,
        directory: &Path,
        parameters: &groth16::Parameters<Bls12>,
    ) -> io::Result<u64> {
        let key = directory.join(&self.key);
        // The old key does not belong to the new parameters.
        match fs::remove_file(&key) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(at(&key, error)),
            _ => {}
        }
        let written = write(&directory.join(&self.parameters), |out| parameters.write(out))?;
        self.complete(directory)?;
        Ok(written)
    }

    /// Derives the small files from whole parameters.
    pub fn complete(&self, directory: &Path) -> io::Result<()> {
        let parameters = directory.join(&self.parameters);
        let key = File::open(&parameters)
            .and_then(key_of_whole)
            .map_err(|error| at(&parameters, error))?;
        write(&directory.join(&self.key), |out| out.write_all(&key))?;
        let metadata = CacheEntryMetadata { sector_size: self.sector_size };
        write(&directory.join(&self.metadata), |out| Ok(serde_json::to_writer(out, &metadata)?))?;
        Ok(())
    }
}

/// What the directory has of the key that aggregates so many proofs.
pub fn find_srs(directory: &Path, proofs: usize) -> io::Result<Found> {
    let path = srs(directory);
    let Some(file) = open(&path)? else { return Ok(Found::Missing) };
    let mut file = BufReader::new(file);
    let whole = srs_length(&mut file).is_ok_and(|length| length >= 2 * proofs as u64);
    Ok(if whole { Found::Whole } else { Found::Broken(path) })
}

/// Writes the key that aggregates proofs; says how many bytes it has.
pub fn keep_srs(directory: &Path, key: &GenericSRS<Bls12>) -> io::Result<u64> {
    write(&srs(directory), |mut out| key.write(&mut out))
}

/// Holds a directory against other generators, until it is dropped or the process ends.
#[derive(Debug)]
pub struct Claim(#[expect(dead_code, reason = "the lock goes with the file")] File);

impl Claim {
    /// Takes the directory, which is made if it is missing, and removes what a killed generator
    /// left half-made. `None` while another process has it.
    pub fn try_take(directory: &Path) -> io::Result<Option<Claim>> {
        fs::create_dir_all(directory).map_err(|error| at(directory, error))?;
        let file = File::open(directory).map_err(|error| at(directory, error))?;
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => {
                return Err(at(
                    directory,
                    io::Error::new(error.kind(), format!("cannot lock it: {error}")),
                ));
            }
            Ok(()) => {}
        }
        for entry in fs::read_dir(directory).map_err(|error| at(directory, error))? {
            let path = entry.map_err(|error| at(directory, error))?.path();
            if is_partial(&path) {
                fs::remove_file(&path).map_err(|error| at(&path, error))?;
            }
        }
        Ok(Some(Claim(file)))
    }
}

fn srs(directory: &Path) -> PathBuf {
    directory.join(format!("v{VERSION}-{SRS_SHARED_KEY_NAME}.{SRS_KEY_EXT}"))
}

fn partial(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}{PARTIAL}"))
}

fn is_partial(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(&format!(".v{VERSION}-")) && name.ends_with(PARTIAL)
}

// The verifying key that parameters begin with; fails unless the file ends exactly where the
// parameters do.
fn key_of_whole(file: File) -> io::Result<Vec<u8>> {
    let mut file = BufReader::new(file);
    VerifyingKey::<Bls12>::read(&mut file)?;
    let key = file.stream_position()?;
    // The polynomials: h, l, a and b in the first group, b in the second.
    skip_vectors(&mut file, &[G1, G1, G1, G1, G2])?;
    let mut bytes = vec![];
    file.rewind()?;
    file.take(key).read_to_end(&mut bytes)?;
    Ok(bytes)
}

// The length of the shortest of the key's four vectors of powers.
fn srs_length(file: &mut BufReader<File>) -> io::Result<u64> {
    let lengths = skip_vectors(file, &[G1 / 2, G1 / 2, G2 / 2, G2 / 2])?;
    Ok(lengths.into_iter().min().unwrap_or_default())
}

// Skips vectors with elements of these sizes, each after its length, up to the end of the file.
fn skip_vectors(file: &mut BufReader<File>, elements: &[u64]) -> io::Result<Vec<u64>> {
    let mut lengths = vec![];
    for element in elements {
        let mut length = [0; 4];
        file.read_exact(&mut length)?;
        let length = u64::from(u32::from_be_bytes(length));
        file.seek_relative((length * element) as i64)?;
        lengths.push(length);
    }
    // One can seek beyond the end of a file.
    let (end, size) = (file.stream_position()?, file.get_ref().metadata()?.len());
    if end == size {
        Ok(lengths)
    } else {
        Err(io::Error::new(ErrorKind::InvalidData, format!("{size} bytes, not {end}")))
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path, error)),
    }
}

fn contents(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let Some(mut file) = open(path)? else { return Ok(None) };
    let mut bytes = vec![];
    file.read_to_end(&mut bytes).map_err(|error| at(path, error))?;
    Ok(Some(bytes))
}

fn write(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<u64> {
    let partial = partial(path);
    let written = write_and_sync(&partial, content).and_then(|length| {
        fs::rename(&partial, path)?;
        // Else the name could be lost with the power.
        path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())?;
        Ok(length)
    });
    written.map_err(|error| {
        // Of use to nobody; the next generator removes it if this one cannot.
        let _ = fs::remove_file(&partial);
        at(path, error)
    })
}

fn write_and_sync(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<u64> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    content(&mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

// Names the path in an error.
fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use bellperson::{Circuit, ConstraintSystem, LinearCombination, SynthesisError};
    use blstrs::Scalar;
    use rand::rngs::OsRng;
    use tempfile::TempDir;

    use super::*;

    // Knows a square root of its input.
    struct Square;

    impl Circuit<Scalar> for Square {
        fn synthesize<CS: ConstraintSystem<Scalar>>(
            self,
            cs: &mut CS,
        ) -> Result<(), SynthesisError> {
            let root = cs.alloc(|| "root", || Ok(Scalar::from(3)))?;
            let square = cs.alloc_input(|| "square", || Ok(Scalar::from(9)))?;
            let term = |variable| move |lc: LinearCombination<Scalar>| lc + variable;
            cs.enforce(|| "squared", term(root), term(root), term(square));
            Ok(())
        }
    }

    fn names() -> GrothFiles {
        let name = |extension| format!("v{VERSION}-square.{extension}");
        GrothFiles {
            parameters: name("params"),
            key: name("vk"),
            metadata: name("meta"),
            sector_size: 2048,
        }
    }

    fn parameters() -> groth16::Parameters<Bls12> {
        groth16::generate_random_parameters(Square, &mut OsRng).unwrap()
    }

    fn kept() -> (TempDir, GrothFiles) {
        let (directory, files) = (TempDir::new().unwrap(), names());
        assert_eq!(files.find(directory.path()).unwrap(), Found::Missing);
        files.keep(directory.path(), &parameters()).unwrap();
        (directory, files)
    }

    #[test]
    fn what_is_kept_is_whole_and_the_proofs_library_reads_it() {
        let (directory, files) = kept();
        let directory = directory.path();
        assert_eq!(files.find(directory).unwrap(), Found::Whole);
        assert_eq!(fs::read_dir(directory).unwrap().count(), 3);
        let mapped = groth16::Parameters::<Bls12>::build_mapped_parameters(
            directory.join(&files.parameters),
            true,
        )
        .unwrap();
        let key =
            VerifyingKey::<Bls12>::read(File::open(directory.join(&files.key)).unwrap()).unwrap();
        assert!(mapped.vk == key);
        assert_eq!(
            fs::read_to_string(directory.join(&files.metadata)).unwrap(),
            r#"{"sector_size":2048}"#
        );
    }

    #[test]
    fn parameters_of_any_other_length_are_broken() {
        let (directory, files) = kept();
        let path = directory.path().join(&files.parameters);
        let bytes = fs::read(&path).unwrap();
        for length in [0, 1, 500, bytes.len() / 2, bytes.len() - 192, bytes.len() - 1] {
            fs::write(&path, &bytes[..length]).unwrap();
            assert_eq!(
                files.find(directory.path()).unwrap(),
                Found::Broken(path.clone()),
                "{length} bytes"
            );
        }
        fs::write(&path, [&bytes[..], b"x"].concat()).unwrap();
        assert_eq!(files.find(directory.path()).unwrap(), Found::Broken(path.clone()));
        fs::write(&path, bytes).unwrap();
        assert_eq!(files.find(directory.path()).unwrap(), Found::Whole);
    }

    #[test]
    fn a_key_that_is_not_the_one_of_the_parameters_is_derived_again() {
        let (directory, files) = kept();
        let key = directory.path().join(&files.key);
        let bytes = fs::read(&key).unwrap();
        let breaks: [&dyn Fn(); 3] = [
            &|| fs::remove_file(&key).unwrap(),
            &|| fs::write(&key, &bytes[..bytes.len() / 2]).unwrap(),
            &|| parameters().vk.write(File::create(&key).unwrap()).unwrap(),
        ];
        for break_it in breaks {
            break_it();
            assert_eq!(files.find(directory.path()).unwrap(), Found::KeyMissing);
            files.complete(directory.path()).unwrap();
            assert_eq!(files.find(directory.path()).unwrap(), Found::Whole);
            assert_eq!(fs::read(&key).unwrap(), bytes);
        }
    }

    #[test]
    fn a_key_for_aggregation_is_whole_if_it_is_long_enough() {
        let directory = TempDir::new().unwrap();
        let directory = directory.path();
        assert_eq!(find_srs(directory, 4).unwrap(), Found::Missing);
        keep_srs(directory, &groth16::aggregate::setup_fake_srs(&mut OsRng, 4)).unwrap();
        assert_eq!(find_srs(directory, 4).unwrap(), Found::Whole);
        assert_eq!(find_srs(directory, 8).unwrap(), Found::Broken(srs(directory)));
        let bytes = fs::read(srs(directory)).unwrap();
        fs::write(srs(directory), &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(find_srs(directory, 4).unwrap(), Found::Broken(srs(directory)));
    }

    #[test]
    fn a_claim_is_for_one_and_clears_what_a_killed_generator_left() {
        let directory = TempDir::new().unwrap();
        let directory = directory.path().join("made");
        let claim = Claim::try_take(&directory).unwrap();
        assert!(claim.is_some());
        let (left, foreign) =
            (partial(&directory.join(names().parameters)), directory.join(".mine.partial"));
        fs::write(&left, "half").unwrap();
        fs::write(&foreign, "").unwrap();
        assert!(Claim::try_take(&directory).unwrap().is_none());
        assert!(left.exists());
        drop(claim);
        assert!(Claim::try_take(&directory).unwrap().is_some());
        assert!(!left.exists() && foreign.exists());
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind_and_names_the_file() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("file");
        let error =
            write(&path, |out| out.write_all(b"half").and(Err(io::Error::other("disk full"))))
                .unwrap_err();
        assert!(error.to_string().contains("/file: disk full"), "{error}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

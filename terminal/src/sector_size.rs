//! Sector sizes on a command line: one way to write them for both tools.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use shared_msgs::sector_manager::SectorSize;

/// A parser for options that take a sector size by its name, `32GiB`. The option says
/// `ignore_case`: `32gib` is taken too.
pub fn sector_size() -> impl TypedValueParser<Value = SectorSize> {
    PossibleValuesParser::new(SectorSize::ALL.map(SectorSize::name))
        .try_map(|name| name.parse::<SectorSize>())
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command, error::ErrorKind};

    use super::*;

    fn read(text: &str) -> Result<SectorSize, ErrorKind> {
        let option = Arg::new("size").value_parser(sector_size()).ignore_case(true);
        let matches = Command::new("tool").arg(option).try_get_matches_from(["tool", text]);
        matches.map(|matches| matches.get_one("size").copied().unwrap()).map_err(|e| e.kind())
    }

    #[test]
    fn a_size_is_read_by_its_name_in_capitals_or_not() {
        for size in SectorSize::ALL {
            for text in
                [size.name().to_owned(), size.name().to_lowercase(), size.name().to_uppercase()]
            {
                assert_eq!(read(&text), Ok(size), "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_size_of_filecoin_is_refused() {
        for text in ["4KiB", "32", "32GB", "", "34359738368"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(read("4KiB"), Err(ErrorKind::InvalidValue));
    }
}

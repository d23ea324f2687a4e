//! A module uses those on lower floors only, and no files of a folder use each other in a circle.
//!
//! ARCHITECTURE.md has the floors.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use e2e::repository;

type Module = Vec<String>;

/// One crate's code: the paths in each of its modules' files, as they are written.
#[derive(Default)]
struct Crate {
    name: String,
    modules: BTreeMap<Module, Vec<Written>>,
}

/// A path in the code, and the inline modules that it stands in.
#[derive(Debug, PartialEq)]
struct Written {
    within: Vec<String>,
    path: Vec<String>,
}

/// From which module to which, both by the path from the crate's root.
type Arrow = (Module, Module);

impl Crate {
    fn read(name: &str) -> Crate {
        let mut code = Crate { name: name.to_owned(), ..Crate::default() };
        code.read_below(&repository().join(name).join("src"), &[]);
        code
    }

    fn read_below(&mut self, directory: &Path, folder: &[String]) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            if path.is_dir() {
                self.read_below(&path, &[folder, &[name.to_owned()]].concat());
            } else if !matches!(name, "lib" | "main") {
                // Tests in a file of their own are those of the module beside them.
                let segments = match name.strip_suffix("_tests") {
                    Some(tested) => vec![tested.to_owned(), "tests".to_owned()],
                    None => vec![name.to_owned()],
                };
                let module = [folder, &segments].concat();
                self.modules.insert(module, paths(&fs::read_to_string(&path).unwrap()));
            }
        }
    }

    fn arrows(&self) -> Vec<Arrow> {
        let mut arrows = vec![];
        for (from, written) in &self.modules {
            for written in written {
                let Some(to) = meant(from, written) else { continue };
                let module = (0..=to.len())
                    .rev()
                    .map(|length| &to[..length])
                    .find(|to| self.modules.contains_key(*to));
                arrows.push((from.clone(), module.unwrap_or_default().to_vec()));
            }
        }
        arrows
    }

    /// Each arrow that goes up, or to another module of the same floor, or to the crate's root.
    fn upward(&self, floors: &[Vec<String>]) -> Vec<String> {
        let floor = |module: &Module| floors.iter().position(|floor| floor.contains(&module[0]));
        let goes_down =
            |(from, to): &Arrow| !to.is_empty() && (from[0] == to[0] || floor(to) > floor(from));
        let up = self.arrows().into_iter().filter(|arrow| !goes_down(arrow));
        up.map(|arrow| self.shown(&arrow)).collect()
    }

    /// The files of one folder that use each other in a circle.
    fn circles(&self) -> Vec<String> {
        let mut beside: BTreeMap<(Module, String), BTreeSet<String>> = BTreeMap::new();
        for (from, to) in self.arrows() {
            let shared = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
            if shared < from.len() && shared < to.len() {
                let (folder, file) = (from[..shared].to_vec(), from[shared].clone());
                beside.entry((folder, file)).or_default().insert(to[shared].clone());
            }
        }
        let leads_back = |(folder, file): &(Module, String)| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![file]);
            while let Some(at) = next.pop() {
                for to in beside.get(&(folder.clone(), at.clone())).into_iter().flatten() {
                    if to == file {
                        return true;
                    }
                    if seen.insert(to) {
                        next.push(to);
                    }
                }
            }
            false
        };
        let circles = beside.keys().filter(|key| leads_back(key));
        circles.map(|(folder, file)| format!("{}: {folder:?} {file}", self.name)).collect()
    }

    fn shown(&self, (from, to): &Arrow) -> String {
        format!("{}: {} uses crate::{}", self.name, from.join("::"), to.join("::"))
    }
}

/// The module or item that a path means, from the crate's root; `None` for another crate's.
fn meant(from: &Module, Written { within, path }: &Written) -> Option<Module> {
    let mut base = [from.as_slice(), within].concat();
    let mut rest = path.as_slice();
    match rest.first()?.as_str() {
        "crate" => (base, rest) = (vec![], &rest[1..]),
        "self" => rest = &rest[1..],
        "super" => {
            while let [first, others @ ..] = rest
                && first == "super"
            {
                base.pop();
                rest = others;
            }
        }
        _ => return None,
    }
    Some([base.as_slice(), rest].concat())
}

/// Every path of a file that begins with `crate`, `self` or `super`, in `use` or elsewhere.
fn paths(text: &str) -> Vec<Written> {
    let tokens = tokens(text);
    let is = |at: usize, token: &str| tokens.get(at).is_some_and(|found| found == token);
    let (mut found, mut within, mut depth, mut at) = (vec![], Vec::<(String, usize)>::new(), 0, 0);
    while let Some(token) = tokens.get(at) {
        let (mut paths, mut behind) = (vec![], at + 1);
        match token.as_str() {
            "use" => behind = tree(&tokens, at + 1, &[], &mut paths),
            "crate" | "self" | "super" if is(at + 1, "::") => {
                behind = tree(&tokens, at, &[], &mut paths);
            }
            "mod" if is(at + 2, "{") => within.push((tokens[at + 1].clone(), depth)),
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                within.pop_if(|(_, outside)| *outside == depth);
            }
            _ => {}
        }
        let within: Vec<String> = within.iter().map(|(name, _)| name.clone()).collect();
        found.extend(paths.into_iter().map(|path| Written { within: within.clone(), path }));
        at = behind;
    }
    found
}

/// Reads the tree of paths that begins at a token; returns which one is behind it.
fn tree(
    tokens: &[String],
    mut at: usize,
    prefix: &[String],
    found: &mut Vec<Vec<String>>,
) -> usize {
    let is = |at: usize, token: &str| tokens.get(at).is_some_and(|found| found == token);
    let mut path = prefix.to_vec();
    loop {
        if is(at, "{") {
            at += 1;
            while at < tokens.len() && !is(at, "}") {
                at = tree(tokens, at, &path, found);
                at += usize::from(is(at, ","));
            }
            return at + 1;
        }
        let Some(name) = tokens.get(at) else { return at };
        if name != "self" || path.is_empty() {
            path.push(name.clone());
        }
        at += 1;
        if !is(at, "::") {
            break;
        }
        at += 1;
    }
    found.push(path);
    if is(at, "as") { at + 2 } else { at }
}

/// Names, `::`, and single characters; neither comments nor literals of text.
fn tokens(text: &str) -> Vec<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let (mut tokens, mut rest) = (vec![], text);
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if first == '"' {
            end_of_text(rest)
        } else if rest.starts_with("'\\") {
            2 + rest[3..].find('\'').unwrap() + 2
        } else if first == '\'' && rest.chars().nth(2) == Some('\'') {
            rest.char_indices().nth(3).map_or(rest.len(), |(end, _)| end)
        } else if let Some(raw) = rest.strip_prefix('r').filter(|raw| raw.starts_with(['"', '#'])) {
            let marks = raw.len() - raw.trim_start_matches('#').len();
            let end = format!("\"{}", "#".repeat(marks));
            1 + marks + 1 + raw[marks + 1..].find(&end).unwrap() + end.len()
        } else if is_name(first) {
            let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            tokens.push(rest[..end].to_owned());
            end
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[skipped..];
    }
    tokens
}

fn end_of_text(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

/// The crates and their floors, the highest first: `worker: cli > daemon > …`.
fn floors() -> BTreeMap<String, Vec<Vec<String>>> {
    let text = fs::read_to_string(repository().join("ARCHITECTURE.md")).unwrap();
    let block = text.split("```floors\n").nth(1).unwrap().split("```").next().unwrap();
    let floor = |floor: &str| floor.split_whitespace().map(str::to_owned).collect();
    let line = |line: &str| {
        let (name, floors) = line.split_once(':').unwrap();
        (name.to_owned(), floors.split('>').map(floor).collect())
    };
    block.lines().map(line).collect()
}

#[test]
fn no_arrow_goes_up() {
    let floors = floors();
    assert_eq!(Vec::from_iter(floors.keys()), ["client", "manager", "shared-msgs", "worker"]);
    let mut arrows = 0;
    for (name, floors) in floors {
        let code = Crate::read(&name);
        let mut listed = floors.concat();
        listed.sort();
        let modules: BTreeSet<_> = code.modules.keys().map(|module| module[0].clone()).collect();
        assert_eq!(listed, Vec::from_iter(modules), "{name}: each module is on one floor");
        assert_eq!(code.upward(&floors), [""; 0]);
        arrows += code.arrows().len();
    }
    assert!(arrows > 500, "only {arrows} arrows were read");
}

#[test]
fn no_files_of_a_folder_use_each_other_in_a_circle() {
    for name in floors().keys() {
        assert_eq!(Crate::read(name).circles(), [""; 0]);
    }
}

#[test]
fn arrows_are_seen_wherever_they_are_written() {
    let text = r##"
        use crate::{a::{self, B as C}, d};
        pub(crate) use super::e::F;
        /* use crate::no; */ // crate::no
        fn g() -> &'static str { let _ = ('\'', '"', b"\"", r#"crate::no""#); crate::h::i("crate::no") }
        mod tests { use super::super::j; fn k(x: self::l::M) {} }
        fn n(x: crate::o::P) {}
    "##;
    let module = |path: &str| Module::from_iter(path.split("::").map(str::to_owned));
    let written = paths(text);
    let meant: Vec<_> =
        written.iter().map(|path| meant(&module("x::y"), path).unwrap().join("::")).collect();
    assert_eq!(meant, ["a", "a::B", "d", "x::e::F", "h::i", "x::j", "x::y::tests::l::M", "o::P"]);

    let mut code = Crate::default();
    code.modules.insert(module("low"), paths("fn f() { crate::high::g() }"));
    code.modules.insert(module("high"), paths("use crate::low::f; use super::low::f as g;"));
    let floors = |names: [&str; 2]| names.map(|name| vec![name.to_owned()]);
    assert_eq!(code.upward(&floors(["high", "low"])), [": low uses crate::high"]);
    assert_eq!(code.upward(&floors(["low", "high"])).len(), 2);
    assert_eq!(code.circles(), [": [] high", ": [] low"]);
    code.modules.insert(module("low"), vec![]);
    assert_eq!((code.upward(&floors(["high", "low"])), code.circles()), (vec![], vec![]));
}

#[test]
fn nothing_but_processors_and_generators_knows_whether_the_proofs_are_built_in() {
    fn knows(file: &Path) -> bool {
        if file.is_dir() {
            return fs::read_dir(file).unwrap().any(|entry| knows(&entry.unwrap().path()));
        }
        fs::read_to_string(file).unwrap().contains("builtin-proofs\"")
    }
    let worker = repository().join("worker/src");
    let parts =
        |folder: &str| fs::read_dir(worker.join(folder)).unwrap().map(|entry| entry.unwrap());
    let knowing = parts("").chain(parts("cli")).filter(|part| part.file_name() != "cli");
    let mut knowing: Vec<_> =
        knowing.filter(|part| knows(&part.path())).map(|part| part.file_name()).collect();
    knowing.sort();
    assert_eq!(knowing, ["generator.rs", "processor", "processor.rs"]);
}

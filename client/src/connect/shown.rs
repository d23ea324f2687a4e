//! Servers' URLs as people may see them.

/// One of a list. What stands before an @ is secret; a comma in it may have made parts of it look
/// like URLs.
pub(super) fn without_login(url: &str, list: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None if list.contains('@') => "…".into(),
        None => url.to_owned(),
    }
}

/// All of a list.
pub(super) fn without_logins(list: &str) -> String {
    list.split(',').map(|url| without_login(url.trim(), list)).collect::<Vec<_>>().join(",")
}

//! Which hosts are this machine.

use std::net::IpAddr;

/// Whether a host, as a URL or a `Host` header has it, is this machine by its own name or by a loopback
/// address.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Runs a test once more, in a process whose environment names a proxy that does not answer. True in that
    /// process.
    pub(crate) fn behind_a_proxy(test: &str) -> bool {
        const NOWHERE: &str = "http://127.0.0.1:1";
        if std::env::var("http_proxy").is_ok_and(|proxy| proxy == NOWHERE) {
            return true;
        }
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again
            .args(["--exact", test])
            .env("http_proxy", NOWHERE)
            .env_remove("no_proxy")
            .env_remove("NO_PROXY");
        assert!(again.status().unwrap().success());
        false
    }

    #[test]
    fn a_name_that_only_looks_like_this_machine_is_not() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.8.0.1", "[::1]", "::1", "[::ffff:127.0.0.1]"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in
            ["", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::]", "0.0.0.0", "[::1"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}

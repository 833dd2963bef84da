//! Which Redis: read once, at start, and refused with a reason.

use fred::types::config::Config;

/// What a URL may begin with.
const SCHEMES: [(&str, bool); 4] =
    [("redis-cluster://", true), ("rediss-cluster://", true), ("redis://", false), ("rediss://", false)];

/// Reads `redis://[user:password@]host[:port][/database]` or `redis-cluster://[user:password@]host:port[?node=host:port…]`; `rediss` is the same over TLS.
///
/// # Errors
/// What is wrong with it, for people; never with its password.
pub fn read(url: &str) -> Result<Config, String> {
    let Some((_, is_cluster)) = SCHEMES.iter().find(|(scheme, _)| url.starts_with(scheme)) else {
        let known: Vec<&str> = SCHEMES.iter().map(|(scheme, _)| *scheme).collect();
        return Err(format!("it begins with none of {}", known.join(", ")));
    };
    let read = if *is_cluster { Config::from_url_clustered(url) } else { Config::from_url_centralized(url) };
    let config = read.map_err(|error| error.details().to_owned())?;
    if config.server.hosts().iter().any(|server| server.host.is_empty()) {
        return Err("it names no host".into());
    }
    let beyond = config.server.hosts().into_iter().find(|server| !is_loopback(&server.host));
    if let (Some(server), None) = (beyond, &config.password) {
        // Whoever reaches that port reads every position and writes any.
        return Err(format!(
            "{} is another machine and there is no password: write redis://user:password@…",
            server.host
        ));
    }
    Ok(config)
}

/// The URL as it may be shown.
pub fn shown(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) => format!("{}…{}", &url[..scheme + 3], &url[at..]),
        _ => url.to_owned(),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_or_refused_with_a_reason() {
        let one = read("redis://127.0.0.1:7001/3").expect("one server");
        assert!(one.server.is_centralized() && one.database == Some(3));
        let many = read("redis-cluster://127.0.0.1:7001?node=127.0.0.1:7002").expect("a cluster");
        assert!(many.server.is_clustered() && many.server.hosts().len() == 2);
        assert!(read("rediss://u:p@redis.example:6379").expect("TLS").uses_tls());
        for (url, why) in [
            ("http://127.0.0.1", "begins with none of"),
            ("127.0.0.1:6379", "begins with none of"),
            ("redis://10.0.0.5:6379", "no password"),
            ("redis-cluster://127.0.0.1:7001?node=10.0.0.5:7002", "no password"),
            ("redis://127.0.0.1:port", ""),
        ] {
            let error = read(url).expect_err(url);
            assert!(error.contains(why), "{url}: {error}");
        }
        assert_eq!(shown("redis://user:secret@host:1"), "redis://…@host:1");
        assert_eq!(shown("redis://host:1"), "redis://host:1");
    }
}

//! What a session runs on, in a few words, for who looks for one that is not theirs.

/// What a program calls itself, and what people call it. The first that is found
/// counts: most browsers also name those that they want to be taken for.
const PROGRAMS: [(&str, &str); 31] = [
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("Vivaldi/", "Vivaldi"),
    ("YaBrowser/", "Yandex Browser"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("HeadlessChrome/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("grpcurl/", "grpcurl"),
    ("curl/", "curl"),
    ("Wget/", "Wget"),
    ("PostmanRuntime/", "Postman"),
    ("insomnia/", "Insomnia"),
    ("k6/", "k6"),
    ("grpc-node-js/", "gRPC for Node.js"),
    ("grpc-python", "gRPC for Python"),
    ("grpc-go/", "gRPC for Go"),
    ("grpc-java", "gRPC for Java"),
    ("grpc-dotnet/", "gRPC for .NET"),
    ("grpc-swift/", "gRPC for Swift"),
    ("connect-go/", "Connect for Go"),
    ("tonic/", "gRPC for Rust"),
    ("okhttp/", "OkHttp"),
    ("python-requests/", "Python"),
    ("Python-urllib/", "Python"),
    ("Go-http-client/", "Go"),
];

/// The same for systems. Android also says Linux, and an iPhone that it is like macOS.
const SYSTEMS: [(&str, &str); 8] = [
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
];

/// The well-known names in a user agent, such as "Firefox on Linux"; empty if there
/// is none. Nothing else of it, so that nobody can write a message there.
pub(super) fn label(user_agent: &str) -> String {
    let find = |names: &[(&str, &'static str)]| {
        let found = names.iter().find(|(word, _)| user_agent.contains(word));
        found.map(|(_, name)| *name)
    };
    match (find(&PROGRAMS), find(&SYSTEMS)) {
        (Some(program), Some(system)) => format!("{program} on {system}"),
        (Some(only), None) | (None, Some(only)) => only.to_owned(),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_systems_are_named_as_people_know_them() {
        const WEBKIT: &str = "AppleWebKit/537.36 (KHTML, like Gecko)";
        for (user_agent, expected) in [
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                "Firefox on Linux",
            ),
            (
                &format!(
                    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/139.0.0.0 Safari/537.36"
                ),
                "Chrome on Windows",
            ),
            (
                &format!(
                    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/139.0.0.0 Safari/537.36 Edg/139.0.0.0"
                ),
                "Edge on Windows",
            ),
            (
                &format!(
                    "Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36"
                ),
                "Samsung Internet on Android",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
                "Safari on iPhone",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
                "Safari on macOS",
            ),
            ("curl/8.5.0", "curl"),
            ("grpcurl/v1.9.3 grpc-go/1.61.0", "grpcurl"),
            ("ihuman-xtask/0.1.0 tonic/0.14.6", "gRPC for Rust"),
            ("grpc-python-asyncio/1.75.0 grpc-c/49.0.0 (linux; chttp2)", "gRPC for Python"),
            ("Something/1.0 (Windows)", "Windows"),
            ("call 555-0100 to win", ""),
            ("", ""),
        ] {
            assert_eq!(label(user_agent), expected, "{user_agent}");
        }
    }
}

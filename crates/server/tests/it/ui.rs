//! The page's files; what the page does is tested in a browser (`tests/web`).

use std::io::Write;

use serde_json::Value;

use crate::support::{Server, start_with};

/// A server whose page is made of these files.
async fn with_page(files: &[(&str, &str)]) -> (Server, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(format!("{name}.gz"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = std::fs::File::create(path).unwrap();
        let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap();
    }
    let place = directory.path().to_path_buf();
    (start_with(move |config| config.page_dir = Some(place)).await, directory)
}

fn unfollowed() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_gzip().build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_the_page_says_how_to_build_it() {
    let (server, _files) = with_page(&[]).await;
    let response = server.client.get(format!("{}/", server.url)).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.text().await.unwrap().contains("make web"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_names_its_files_from_wherever_it_stands() {
    let (server, _files) = with_page(&[("index.html", "<script src=\"./assets/main.js\"></script>")]).await;
    for path in ["/", "/My%20Db?query=T", "/ui/databases/ui"] {
        let response = server.client.get(format!("{}{path}", server.url)).send().await.unwrap();
        assert_eq!(response.text().await.unwrap(), "<script src=\"/ui/assets/main.js\"></script>", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_compressed_kept_by_their_hash_and_policed() {
    let script = "export const answer = 42;".repeat(50);
    let (server, _files) = with_page(&[("index.html", "<!doctype html>"), ("assets/main-1a2b.js", &script)]).await;
    let get = |path: &str| unfollowed().get(format!("{}{path}", server.url));
    let index = get("/ui/").send().await.unwrap();
    assert_eq!(index.headers()["cache-control"], "no-cache");
    assert!(index.headers()["content-security-policy"].to_str().unwrap().contains("script-src 'self';"));
    let tag = index.headers()["etag"].clone();
    assert_eq!(index.text().await.unwrap(), "<!doctype html>");
    let again = get("/ui/").header("if-none-match", tag).send().await.unwrap();
    assert_eq!(again.status(), 304);
    let packed = get("/ui/assets/main-1a2b.js").header("accept-encoding", "br, gzip").send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    assert_eq!(packed.headers()["content-type"], "text/javascript; charset=utf-8");
    assert!(packed.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    assert!(packed.bytes().await.unwrap().len() < 200);
    assert_eq!(get("/ui/assets/main-1a2b.js").send().await.unwrap().text().await.unwrap(), script);
    assert_eq!(get("/ui/assets/gone.js").send().await.unwrap().status(), 404);
    assert_eq!(get("/ui/assets/..%2f..%2f..%2fCargo.toml").send().await.unwrap().status(), 404);
    let settings: Value = get("/ui/settings.json").send().await.unwrap().json().await.unwrap();
    assert_eq!((settings["signIn"].as_str(), &settings["issuer"]), (Some("off"), &Value::Null));
}

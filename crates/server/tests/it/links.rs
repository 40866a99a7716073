//! Deep links: where they lead, what the page shows, and that nothing in them does anything.

use serde_json::json;

use crate::support::{Server, start, start_with};

/// Status, place and headers of a link, not followed.
async fn link(server: &Server, path: &str) -> (u16, String) {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let response = client.get(format!("{}{path}", server.url)).send().await.unwrap();
    let place = response.headers().get("location").map(|place| place.to_str().unwrap().to_string());
    (response.status().as_u16(), place.unwrap_or_default())
}

/// The page that a link leads to.
async fn page(server: &Server, path: &str) -> String {
    let response = server.client.get(format!("{}{path}", server.url)).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_string();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    response.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn links_lead_to_the_page_with_all_they_say() {
    let server = start().await;
    let redirected = async |path: &str| {
        let (status, place) = link(&server, path).await;
        assert_eq!(status, 302, "{path}");
        place
    };
    assert_eq!(redirected("/").await, "/ui/");
    assert_eq!(
        redirected("/?query=print%201&web=1&name=x&autorun=false").await,
        "/ui/?query=print%201&web=1&name=x&autorun=false"
    );
    assert_eq!(
        redirected("/My%20Db?query=T%20%7C%20count&saw=1").await,
        "/ui/databases/My%20Db?query=T%20%7C%20count&saw=1"
    );
    assert_eq!(redirected("/v1?web=0").await, "/ui/databases/v1?web=0", "a database may be called so");
    assert_eq!(redirected("/%6detrics").await, "/ui/databases/metrics");
    // Whatever is in a link, it leads to this server's page.
    for hostile in
        ["/%2F%2Fevil.example", "/%0d%0aSet-Cookie:x", "/..%2f..%2fevil", "/%5cevil.example", "/javascript:alert(1)"]
    {
        let place = redirected(hostile).await;
        assert!(place.starts_with("/ui/databases/") && !place.contains(['\r', '\n', '\\']), "{place}");
    }
    let server = start_with(|config| config.public_url = Some("https://data.example/kusto/".into())).await;
    assert_eq!(link(&server, "/D").await, (302, "/kusto/ui/databases/D".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_what_a_link_carries() {
    let server = start().await;
    assert!(page(&server, "/").await.contains("Tidewater"));
    let text = page(&server, "/My%20Db?query=print+%3Cb%3E&web=1").await;
    assert!(
        text.contains("Database: <b>My Db</b>") && text.contains("<pre id=\"query\">print &lt;b&gt;</pre>"),
        "{text}"
    );
    let text = page(&server, "/D?query=H4sIAAAAAAAACysoyswrUahQsFUwBACplErMCwAAAA%3D%3D").await;
    assert!(text.contains("<pre id=\"query\">print x = 1</pre>"), "{text}");
    let text = page(&server, "/D?web=0&query=Logs+%7c+where+Timestamp+%3E+ago({Period})&Period=1h").await;
    assert!(text.contains("Logs | where Timestamp &gt; ago(1h)"), "{text}");
    let text = page(&server, "/?querysrc=https://x.example/q.kql&uri=https://other.example&name=mine").await;
    assert!(text.contains("https://x.example/q.kql") && text.contains("other.example") && text.contains("mine"));
    let text = page(
        &server,
        "/D%22%3E%3Cscript%3E?query=%3C/pre%3E%3Cscript%3Ealert(1)%3C/script%3E&name=%3Cimg%20src=x%20onerror=y%3E",
    )
    .await;
    assert!(!text.contains("<script") && !text.contains("<img") && text.contains("&lt;/pre&gt;"), "{text}");
    let head = server.client.head(format!("{}/D?query=x", server.url)).send().await.unwrap();
    assert_eq!(head.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_run_nothing() {
    let server = start().await;
    server.command(".create table Kept (a: long)").await;
    let text = page(&server, "/NetDefaultDB?query=.drop+table+Kept&autorun=true&web=1").await;
    assert!(text.contains("Links never run commands"), "{text}");
    page(&server, "/NetDefaultDB?query=print+1&autorun=true").await;
    assert_eq!(server.rows(".show tables").await.len(), 1);
    let journal = server.rows(".show queries").await;
    assert!(!journal.iter().any(|row| row.to_string().contains("print 1")), "{journal:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_need_no_sign_in_and_tell_nothing_without() {
    let directory = tempfile::tempdir().unwrap();
    let accounts = directory.path().join("accounts.toml");
    std::fs::write(&accounts, "").unwrap();
    let server = start_with(|config| {
        config.sign_in = tidewater_server::config::SignIn::Required;
        config.accounts_file = Some(accounts);
        config.administrators = vec!["aaduser=somebody".to_string()];
    })
    .await;
    let known = page(&server, "/NetDefaultDB?query=T").await;
    let unknown = page(&server, "/NoSuchDatabase?query=T").await;
    let unknown = unknown.replace("NoSuchDatabase", "NetDefaultDB");
    assert_eq!(known, unknown);
    let request = server.client.post(format!("{}/v1/rest/query", server.url)).json(&json!({"csl": "print 1"}));
    assert_eq!(request.send().await.unwrap().status(), 401);
}

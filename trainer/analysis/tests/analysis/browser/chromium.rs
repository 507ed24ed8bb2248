//! A headless Chromium by its DevTools protocol.

use std::{path::Path, process::Stdio, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

/// Much longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Headless, as any user, and silent towards the network.
const FLAGS: [&str; 11] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
];

pub(super) struct Browser {
    process: Child,
    socket: WebSocketStream<TcpStream>,
    last_id: u64,
    /// What came that nobody has asked for.
    events: Vec<Value>,
    /// Goes with it.
    _profile: tempfile::TempDir,
}

impl Browser {
    pub(super) async fn start(program: &Path) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut process = Command::new(program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let url = loop {
            let line = timeout(PATIENCE, lines.next_line()).await.expect("the browser says nothing").unwrap();
            let line = line.unwrap_or_else(|| panic!("the browser does not start: {said}"));
            if let Some((_, url)) = line.split_once("DevTools listening on ") {
                break url.to_owned();
            }
            said += &line;
        };
        // Somebody has to read what it goes on to say.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let host = url.trim_start_matches("ws://").split('/').next().unwrap();
        let stream = TcpStream::connect(host).await.unwrap();
        let large = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let (socket, _) = client_async_with_config(&url, stream, Some(large)).await.unwrap();
        Self { process, socket, last_id: 0, events: Vec::new(), _profile: profile }
    }

    /// Opens a page and waits until it is loaded.
    pub(super) async fn open(&mut self, width: u32, height: u32, scheme: &str, url: &str) -> Tab<'_> {
        self.events.clear();
        let target = self.call(None, "Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session =
            self.call(None, "Target.attachToTarget", attach).await["sessionId"].as_str().unwrap().to_owned();
        let mut tab = Tab { browser: self, session };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            tab.call(&format!("{domain}.enable"), json!({})).await;
        }
        let screen = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        tab.call("Emulation.setDeviceMetricsOverride", screen).await;
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        tab.call("Emulation.setEmulatedMedia", scheme).await;
        tab.browser.events.clear();
        tab.call("Page.navigate", json!({"url": url})).await;
        while !tab.browser.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = tab.browser.receive().await;
            tab.browser.events.push(event);
        }
        tab
    }

    pub(super) async fn close(mut self) {
        self.call(None, "Browser.close", json!({})).await;
        timeout(PATIENCE, self.process.wait()).await.expect("the browser does not end").unwrap();
    }

    async fn call(&mut self, session: Option<&str>, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method, "params": parameters});
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(message.to_string())).await.unwrap();
        loop {
            let answer = self.receive().await;
            if answer["id"] == self.last_id {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    async fn receive(&mut self) -> Value {
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await.expect("the browser says nothing");
            if let Message::Text(text) = message.expect("the browser has ended").unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }
}

pub(super) struct Tab<'a> {
    browser: &'a mut Browser,
    session: String,
}

impl Tab<'_> {
    async fn call(&mut self, method: &str, parameters: Value) -> Value {
        let session = self.session.clone();
        self.browser.call(Some(&session), method, parameters).await
    }

    /// The value of an expression.
    pub(super) async fn evaluate(&mut self, expression: &str) -> Value {
        let answer =
            self.call("Runtime.evaluate", json!({"expression": expression, "returnByValue": true})).await;
        assert!(answer["exceptionDetails"].is_null(), "{answer}");
        answer["result"]["value"].clone()
    }

    /// Whatever stands on the console, and exceptions.
    pub(super) fn complaints(&self) -> Vec<String> {
        let of = ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"];
        self.events(&of).map(|event| event["params"].to_string()).collect()
    }

    /// What was asked for, but for data that stands in the page.
    pub(super) fn requests(&self) -> Vec<String> {
        let urls = self.events(&["Network.requestWillBeSent"]);
        let urls =
            urls.map(|event| event["params"]["request"]["url"].as_str().unwrap_or_default().to_owned());
        urls.filter(|url| !url.starts_with("data:")).collect()
    }

    fn events(&self, methods: &[&str]) -> impl Iterator<Item = &Value> {
        self.browser.events.iter().filter(|event| methods.iter().any(|method| event["method"] == *method))
    }

    /// The whole page as PNG.
    pub(super) async fn screenshot(&mut self) -> Vec<u8> {
        let shot = self
            .call("Page.captureScreenshot", json!({"format": "png", "captureBeyondViewport": true}))
            .await;
        STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()
    }
}

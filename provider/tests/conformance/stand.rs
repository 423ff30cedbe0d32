//! What the tests stand on: the real dispatcher with a real store, a provider's twin, and the adapter between them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use serde_json::{Value, json};
use tintype_provider::Args;
use tintype_provider_twin::{KEY, Twin, until};
use tintype_purchase::Book;
use tintype_store::testing::own_address;
use tintype_types::JobId;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::rig::{Ended, Rig, WORKER_TOKEN};

/// Replicate's secret for webhooks, as it hands one out.
pub(crate) const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// What a picture costs.
pub(crate) const PRICE: u64 = 3_000;

pub(crate) struct Stand {
    pub(crate) rig: Rig,
    pub(crate) twin: Twin,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) kind: &'static str,
    /// Where the adapter listens: told to the provider before it listens.
    pub(crate) listen: SocketAddr,
    dispatch_url: String,
    adapter: Option<(JoinHandle<anyhow::Result<()>>, CancellationToken)>,
}

impl Stand {
    /// Everything but the adapter.
    pub(crate) async fn new(kind: &'static str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dispatch_url = format!("http://{}", listener.local_addr().unwrap());
        let rig = Rig::start_at(dispatch_url.clone(), None);
        rig.lead().await;
        let routes = rig.dispatch.worker_router().merge(rig.store.router());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), WORKER_TOKEN).unwrap();
        std::fs::write(folder.path().join("key"), KEY).unwrap();
        std::fs::write(folder.path().join("webhook-secret"), WEBHOOK_SECRET).unwrap();
        let twin = Twin::start().await;
        let stand = Self { rig, twin, folder, kind, listen: own_address(), dispatch_url, adapter: None };
        stand.budget(1_000_000);
        stand
    }

    /// The same with an adapter at work.
    pub(crate) async fn working(kind: &'static str) -> Self {
        let mut stand = Self::new(kind).await;
        stand.start(&[]);
        stand
    }

    /// Writes the pool with this budget for a day.
    pub(crate) fn budget(&self, day: u64) {
        let (path, target) = match self.kind {
            "replicate" => ("/v1", "owner/name:abc"),
            "runpod" => ("/v2", "sd"),
            _ => ("/modal", "draw"),
        };
        let mut model = json!({ "name": "tintype/shapes", "target": target, "pricePerImageMicroUsd": PRICE });
        if self.kind == "replicate" {
            model["input"] = json!({
                "prompt": "prompt", "images": "num_outputs", "seed": "seed", "init.image": "image",
                "init.strength": "prompt_strength",
            });
        }
        let pool = json!({
            "apiVersion": "tintype.dev/v1alpha1", "kind": "GpuPool", "metadata": { "name": "burst" },
            "spec": { "provider": {
                "kind": self.kind, "baseUrl": self.twin.url(path), "models": [model],
                "budget": { "dayMicroUsd": day, "monthMicroUsd": 2_000_000 }, "concurrencyMax": 3,
            }},
        });
        std::fs::write(self.file("pool.yaml"), pool.to_string()).unwrap();
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts an adapter.
    pub(crate) fn start(&mut self, more: &[&str]) {
        let path = |name: &str| self.file(name).display().to_string();
        let mut words = vec![
            "--pool=burst".to_owned(),
            format!("--pool-file={}", path("pool.yaml")),
            format!("--book-file={}", path("book.json")),
        ];
        words.extend(more.iter().map(ToString::to_string));
        self.start_in_cluster(&words);
    }

    /// Starts an adapter that is told nothing of where its pool and its book are.
    pub(crate) fn start_in_cluster(&mut self, more: &[String]) {
        let path = |name: &str| self.file(name).display().to_string();
        let mut words = vec![
            "tintype-provider".to_owned(),
            format!("--dispatch-url={}", self.dispatch_url),
            format!("--token-file={}", path("token")),
            format!("--key-file={}", path("key")),
            format!("--c2pa-dir={}", path("c2pa")),
            format!("--listen={}", self.listen),
            format!("--webhook-secret-file={}", path("webhook-secret")),
        ];
        words.extend(["--poll-ms=20", "--sweep-ms=20"].map(str::to_owned));
        words.extend_from_slice(more);
        let stop = CancellationToken::new();
        let adapter = tintype_provider::run(Args::try_parse_from(words).unwrap(), stop.clone());
        let running = tokio::spawn(async move {
            let ended = adapter.await;
            if let Err(error) = &ended {
                tracing::error!("the adapter has ended: {error:#}");
            }
            ended
        });
        self.adapter = Some((running, stop));
    }

    /// Where the provider reaches the adapter.
    pub(crate) fn public_url(&self) -> String {
        format!("--public-url=http://{}", self.listen)
    }

    /// Ends the adapter as kill -9 does: between any two steps.
    pub(crate) async fn crash(&mut self) {
        let (running, stop) = self.adapter.take().unwrap();
        running.abort();
        assert!(running.await.is_err(), "it was at work");
        // What a task of its own would do beyond its process: the port is free once its listener is.
        stop.cancel();
        let address = self.listen;
        until("the port is free", || std::net::TcpStream::connect(address).is_err().then_some(())).await;
    }

    /// Ends it as SIGTERM does.
    pub(crate) async fn stop(&mut self) {
        let (running, stop) = self.adapter.take().unwrap();
        stop.cancel();
        running.await.unwrap().unwrap();
    }

    pub(crate) async fn ended(&self, job: &JobId) -> Ended {
        until("the job ends", || self.rig.record.ended(job)).await
    }

    /// The book as it is on disk.
    pub(crate) fn book(&self) -> Book {
        let Ok(text) = std::fs::read_to_string(self.file("book.json")) else { return Book::default() };
        let disk: Value = serde_json::from_str(&text).unwrap();
        serde_json::from_value(disk["book"].clone()).unwrap()
    }

    /// What was spent today and may still be, in millionths of a dollar.
    pub(crate) fn spend(&self) -> (u64, u64) {
        let spend = self.book().spend(&"burst".into(), tintype_purchase::Window::Day, tintype_types::Timestamp(0));
        (spend.spent.0, spend.reserved.0)
    }

    /// Calls the adapter as the provider does.
    pub(crate) async fn hook(&self, url: &str, headers: &[(&str, String)], body: &str) -> u16 {
        let mut call = reqwest::Client::new().post(url).body(body.to_owned());
        for (name, value) in headers {
            call = call.header(*name, value);
        }
        call.send().await.unwrap().status().as_u16()
    }

    /// The value of the one series of the adapter's that begins so; the labels all of them have come last, in any order.
    pub(crate) async fn count(&self, begins: &str) -> String {
        let url = format!("http://{}/metrics", self.listen);
        let text = reqwest::Client::new().get(url).send().await.unwrap().text().await.unwrap();
        let of_it = |line: &str| line.starts_with(&format!("tintype_provider_{begins}"));
        let found: Vec<_> = text.lines().filter(|line| of_it(line)).collect();
        assert_eq!(found.len(), 1, "{begins}: {text}");
        assert!(found[0].contains("pool=\"burst\"") && found[0].contains(&format!("provider=\"{}\"", self.kind)));
        found[0].rsplit(' ').next().unwrap().to_owned()
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if let Some((running, _)) = &self.adapter {
            running.abort();
        }
    }
}

/// Whether any file in the folder holds this text.
pub(crate) fn holds(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).any(|path| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

//! The whole API in this process: real router on a free port, real PostgreSQL, a models folder, an administrator.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use tintype_api::{Args, ClusterKind, IdentityArgs, LocalArgs, MailArgs, ServicesArgs};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::pooler::Pooler;
use crate::support::{database, ledger_faults};
use crate::worker::{Worker, client};

pub(crate) const WORKER_TOKEN: &str = "worker-0123456789abcdef";
pub(crate) const ADMIN_TOKEN: &str = "admin-0123456789abcdef";
/// The price of a job that says nothing but a prompt.
pub(crate) const PRICE: i64 = 16;

/// A running API.
pub(crate) struct Rig {
    pub(crate) url: String,
    pub(crate) pool: PgPool,
    pub(crate) folder: tempfile::TempDir,
    database_url: String,
    options: Options,
    pooler: Option<Pooler>,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

/// What a test wants to be different.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) lease: Duration,
    pub(crate) wait_seconds: u64,
    pub(crate) requests_per_minute: u32,
    /// Where numbers are served apart from the API.
    pub(crate) metrics_listen: Option<std::net::SocketAddr>,
    /// Whether webhooks may come to this machine.
    pub(crate) webhook_private_targets: bool,
    /// How people sign in.
    pub(crate) identity: IdentityArgs,
    /// How mail is sent.
    pub(crate) mail: MailArgs,
    /// What others run for it.
    pub(crate) services: ServicesArgs,
    /// Where Stripe is; without it nothing is sold.
    pub(crate) stripe: Option<String>,
    /// What is sold, if it is not what ships.
    pub(crate) price_book: Option<Value>,
    /// Whether the database is behind a pooler.
    pub(crate) pooled: bool,
    /// Jobs run in this cluster instead of here.
    pub(crate) cluster: Option<KubernetesOptions>,
}

/// Which cluster.
#[derive(Clone, Debug)]
pub(crate) struct KubernetesOptions {
    pub(crate) kubeconfig: PathBuf,
    pub(crate) namespace: String,
    pub(crate) dispatch_url: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            wait_seconds: 30,
            requests_per_minute: 60_000,
            webhook_private_targets: true,
            metrics_listen: None,
            identity: IdentityArgs { sign_ins_per_minute: 1_000, ..IdentityArgs::default() },
            mail: MailArgs::default(),
            services: ServicesArgs::default(),
            stripe: None,
            price_book: None,
            pooled: false,
            cluster: None,
        }
    }
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let (pool, database_url) = database().await;
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let pooler = if options.pooled { Some(Pooler::start(&database_url).await) } else { None };
        let (url, stop, task) = launch(folder.path(), &database_url, pooler.as_ref(), &options).await;
        Self { url, pool, folder, database_url, options, pooler, stop, task }
    }

    pub(crate) fn database_url(&self) -> &str {
        &self.database_url
    }

    /// Ends the API in good order and starts another on the same data.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// What is sold from the next start on.
    pub(crate) fn sell(&mut self, book: Value) {
        self.options.price_book = Some(book);
    }

    /// Ends the API in good order.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        (&mut self.task).await.unwrap().unwrap();
    }

    /// Starts another on the same data.
    pub(crate) async fn start_again(&mut self) {
        (self.url, self.stop, self.task) =
            launch(self.folder.path(), &self.database_url, self.pooler.as_ref(), &self.options).await;
    }

    /// A new user with ten free credits.
    pub(crate) async fn user(&self) -> User {
        let admin = User { rig: self.url.clone(), key: ADMIN_TOKEN.to_owned(), account: Uuid::nil() };
        let made = admin.post("/api/v1/users", json!({ "name": "tester" })).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        assert_eq!(made.body["credits"]["availableMillis"], 10_000);
        let key = made.body["apiKey"].as_str().unwrap().to_owned();
        let account = made.body["account"]["id"].as_str().unwrap().parse().unwrap();
        User { rig: self.url.clone(), key, account }
    }

    pub(crate) fn worker(&self, name: &str) -> Worker {
        Worker::new(&self.url, WORKER_TOKEN, name)
    }

    /// A worker that does whatever there is until the test ends.
    pub(crate) fn serve(&self, name: &str) -> Serving {
        Serving(tokio::spawn(self.worker(name).serve()))
    }

    /// A worker that ends each job only after somebody has watched it.
    pub(crate) fn serve_watched(&self, name: &str) -> Serving {
        Serving(tokio::spawn(self.worker(name).serve_watched()))
    }

    /// The ledger must be sound.
    pub(crate) async fn audit(&self) {
        assert_eq!(ledger_faults(&self.pool).await, Vec::<String>::new());
    }

    /// Waits until a reconciler has looked once more, from now on.
    pub(crate) async fn pass(&self, reconciler: &str) {
        let passes = async || {
            self.metric(&format!("tintype_api_reconcile_passes_total{{outcome=\"ok\",reconciler=\"{reconciler}\"}}"))
                .await
        };
        // One may be under way.
        let before = passes().await;
        until(&format!("{reconciler} looks"), || async { (passes().await > before + 1.5).then_some(()) }).await;
    }

    pub(crate) async fn metric(&self, line_start: &str) -> f64 {
        let text = client().get(format!("{}/metrics", self.url)).send().await.unwrap().text().await.unwrap();
        let line = text.lines().find(|line| line.starts_with(line_start));
        line.and_then(|line| line.rsplit(' ').next()).map_or(0.0, |number| number.parse().unwrap())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A worker's task; it ends with this.
pub(crate) struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tokens and models, as a person would have put them there.
pub(crate) fn prepare(folder: &Path) {
    std::fs::write(folder.join("worker-token"), WORKER_TOKEN).unwrap();
    std::fs::write(folder.join("admin-token"), ADMIN_TOKEN).unwrap();
    let model = folder.join("models/shapes");
    std::fs::create_dir_all(&model).unwrap();
    std::fs::write(model.join("model_index.json"), r#"{"_class_name":"StableDiffusionPipeline"}"#).unwrap();
    let card = json!({
        "name": "tintype/shapes", "family": "sd15", "licence": "CC0-1.0",
        "defaults": { "width": 64, "height": 64, "steps": 20, "guidanceScale": 3.0, "sampler": "dpmpp-2m-karras" }
    });
    std::fs::write(model.join("tintype.json"), card.to_string()).unwrap();
    let lora = folder.join("models/night");
    std::fs::create_dir_all(&lora).unwrap();
    let (mut lora_card, file) = (card, lora.join("tintype.json"));
    (lora_card["name"], lora_card["kind"]) = (json!("tintype/night"), json!("lora"));
    std::fs::write(file, lora_card.to_string()).unwrap();
    std::fs::write(lora.join("pytorch_lora_weights.safetensors"), "nothing is drawn here").unwrap();
}

async fn launch(
    folder: &Path,
    database_url: &str,
    pooler: Option<&Pooler>,
    options: &Options,
) -> (String, CancellationToken, JoinHandle<anyhow::Result<()>>) {
    let local = LocalArgs { lease: options.lease, ..LocalArgs::under(folder, database_url) };
    let port_file = local.port_file.clone();
    let _ = std::fs::remove_file(&port_file);
    let mut args = Args::local(local).unwrap();
    if let Some(pooler) = pooler {
        args.database_direct_url = Some(std::mem::replace(&mut args.database_url, pooler.url(database_url)));
    }
    args.wait_seconds = options.wait_seconds;
    args.requests_per_minute = options.requests_per_minute;
    args.metrics_listen = options.metrics_listen;
    args.webhook_private_targets = options.webhook_private_targets;
    args.identity = options.identity.clone();
    args.mail = options.mail.clone();
    args.services = options.services.clone();
    args.model_aliases = vec![("gpt-image-1".to_owned(), "tintype/shapes".to_owned())];
    if let Some(book) = &options.price_book {
        let file = folder.join("price-book.json");
        std::fs::write(&file, book.to_string()).unwrap();
        args.payments.price_book = Some(file);
    }
    if let Some(stripe) = &options.stripe {
        args.payments.stripe_url.clone_from(stripe);
        args.payments.stripe_key = Some("sk_test_key".to_owned());
        args.payments.stripe_webhook_secret = Some("whsec_test".to_owned());
    }
    if let Some(cluster) = &options.cluster {
        args.cluster = ClusterKind::Kubernetes;
        args.kubeconfig = Some(cluster.kubeconfig.clone());
        args.namespace = Some(cluster.namespace.clone());
        args.dispatch_url = Some(cluster.dispatch_url.clone());
        (args.store_dir, args.store_secret_file, args.worker_token_file) = (None, None, None);
    }
    let stop = CancellationToken::new();
    let mut task = tokio::spawn(tintype_api::run(args, stop.clone()));
    let address = tokio::select! {
        address = read_port(port_file) => address,
        ended = &mut task => panic!("the API ended: {ended:?}"),
    };
    (format!("http://{address}"), stop, task)
}

pub(crate) async fn read_port(file: PathBuf) -> String {
    until("the API listens", || async { std::fs::read_to_string(&file).ok() }).await.trim().to_owned()
}

/// Asks until there is an answer.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asking).await.unwrap_or_else(|_| panic!("not in 30 s: {what}"))
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        Self { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status, code and field of an error.
    pub(crate) fn error(&self) -> (u16, &str, &str) {
        let error = &self.body["error"];
        (self.status.as_u16(), error["code"].as_str().unwrap_or(""), error["param"].as_str().unwrap_or(""))
    }
}

/// Somebody with a key.
#[derive(Clone, Debug)]
pub(crate) struct User {
    rig: String,
    pub(crate) key: String,
    pub(crate) account: Uuid,
}

impl User {
    /// Whoever has this key.
    pub(crate) fn new(url: &str, key: &str) -> Self {
        Self { rig: url.to_owned(), key: key.to_owned(), account: Uuid::nil() }
    }

    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    pub(crate) fn at(&self, url: &str) -> Self {
        Self { rig: url.to_owned(), ..self.clone() }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Option<Value>,
    ) -> Reply {
        self.try_send(method, path, headers, body).await.unwrap()
    }

    pub(crate) async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Option<Value>,
    ) -> reqwest::Result<Reply> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect();
        let mut request =
            client().request(method, format!("{}{path}", self.rig)).bearer_auth(&self.key).headers(headers);
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await?;
        Ok(Reply { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(Method::POST, path, &[], Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, &[], None).await
    }

    /// A job, without waiting for it; its id.
    pub(crate) async fn submit(&self) -> String {
        let made = self.post("/api/v1/jobs", json!({ "model": "tintype/shapes", "prompt": "a red circle" })).await;
        assert_eq!(made.status, StatusCode::ACCEPTED, "{}", made.body);
        made.body["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn job(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/jobs/{id}")).await.body
    }

    /// Waits until the job is in a state.
    pub(crate) async fn job_in(&self, id: &str, state: &str) -> Value {
        until(&format!("job {id} is {state}"), || async {
            Some(self.job(id).await).filter(|job| job["state"] == state)
        })
        .await
    }

    /// Available, held and spent milli-credits.
    pub(crate) async fn credits(&self) -> (i64, i64, i64) {
        let me = self.get("/api/v1/me").await.body;
        let number = |name: &str| me["credits"][name].as_i64().unwrap_or_else(|| panic!("no {name} in {me}"));
        (number("availableMillis"), number("heldMillis"), number("spentMillis"))
    }

    /// Waits until nothing is held; what is available and spent then.
    pub(crate) async fn settled(&self) -> (i64, i64) {
        until("nothing is held", || async {
            let (available, held, spent) = self.credits().await;
            (held == 0).then_some((available, spent))
        })
        .await
    }
}

//! A small worker that speaks the protocol: claims, puts a one-colour PNG, finishes. No picture is drawn.

use std::sync::LazyLock;
use std::time::Duration;

use reqwest::{Client, ClientBuilder, StatusCode};
use tintype_types::worker::{Assignment, CLAIM_PATH, Claim, ClaimAnswer, Finish, Gpu, Outcome, Renew, RenewAnswer};
use tintype_types::{BootId, FailureReason, ImageFormat, Output, PoolName, Preview, WorkerId};
use uuid::Uuid;

/// A worker.
#[derive(Clone)]
pub(crate) struct Worker {
    http: Client,
    url: String,
    token: String,
    id: WorkerId,
    boot: BootId,
}

impl Worker {
    pub(crate) fn new(url: &str, token: &str, name: &str) -> Self {
        let boot = BootId(Uuid::now_v7().to_string());
        Self { http: steady_client(), url: url.to_owned(), token: token.to_owned(), id: name.into(), boot }
    }

    /// The same worker, looking for the dispatcher elsewhere.
    pub(crate) fn at(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self.clone() }
    }

    /// Asks for work until there is some.
    pub(crate) async fn claim(&self) -> Assignment {
        let claimed = async {
            loop {
                if let Some(assignment) = self.claim_once().await {
                    return assignment;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), claimed).await.expect("no work in 30 s")
    }

    /// One claim; none when there was no work, or nobody there to ask.
    pub(crate) async fn claim_once(&self) -> Option<Assignment> {
        let gpu = Gpu {
            uuid: "cpu-0".to_owned(),
            name: "CPU".to_owned(),
            vram_total_bytes: 1 << 33,
            vram_free_bytes: 1 << 33,
            ..Gpu::default()
        };
        let claim = Claim {
            worker: self.id.clone(),
            boot_id: self.boot.clone(),
            pool: PoolName::from("default"),
            gpus: vec![gpu],
            resident_models: Vec::new(),
            residents: Vec::new(),
            loadable_models: Vec::new(),
            free_slots: 1,
            wait_ms: 2_000,
            warm_up: None,
            unwell: None,
        };
        let answer =
            self.http.post(format!("{}{CLAIM_PATH}", self.url)).bearer_auth(&self.token).json(&claim).send().await;
        let Ok(answer) = answer else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            return None;
        };
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            tokio::time::sleep(Duration::from_millis(20)).await;
            return None;
        }
        assert!(answer.status().is_success(), "claim: {}", answer.status());
        answer.json::<ClaimAnswer>().await.ok()?.assignment
    }

    /// Reports a step.
    pub(crate) async fn renew(&self, work: &Assignment, step: u32) -> Result<RenewAnswer, StatusCode> {
        self.show(work, step, Vec::new()).await
    }

    /// Reports a step, and how the pictures look.
    pub(crate) async fn show(
        &self,
        work: &Assignment,
        step: u32,
        previews: Vec<Preview>,
    ) -> Result<RenewAnswer, StatusCode> {
        let (steps, gpus) = (work.request.steps * work.request.images, Vec::new());
        let renew = Renew { worker: self.id.clone(), boot_id: self.boot.clone(), step, steps, gpus, previews };
        let answer = self.call(work, "renew").json(&renew).send().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
        if answer.status().is_success() { Ok(answer.json().await.unwrap()) } else { Err(answer.status()) }
    }

    /// Puts every picture and says what was put.
    pub(crate) async fn upload(&self, work: &Assignment) -> Option<Vec<Output>> {
        let mut outputs = Vec::new();
        for (n, target) in work.outputs.iter().enumerate() {
            let seed = work.request.seed + n as u64;
            let bytes = picture(work.request.width, work.request.height, seed);
            let (sha256, length) = (sha256_hex(&bytes), bytes.len() as u64);
            let put =
                self.http.put(&target.put_url).header("content-type", "image/png").body(bytes).send().await.ok()?;
            assert!(put.status().is_success(), "put: {}", put.status());
            let (width, height) = (work.request.width, work.request.height);
            outputs.push(Output { key: target.key.clone(), sha256, bytes: length, width, height, seed });
        }
        Some(outputs)
    }

    /// Says that the attempt is done.
    pub(crate) async fn done(&self, work: &Assignment, outputs: Vec<Output>) -> Option<StatusCode> {
        self.finish(work, Outcome::Done { outputs }).await
    }

    /// Says that the attempt failed.
    pub(crate) async fn failed(&self, work: &Assignment, reason: FailureReason, retryable: bool) -> Option<StatusCode> {
        self.finish(work, Outcome::Failed { reason, message: "the test wants it so".to_owned(), retryable }).await
    }

    async fn finish(&self, work: &Assignment, outcome: Outcome) -> Option<StatusCode> {
        let finish = Finish { worker: self.id.clone(), boot_id: self.boot.clone(), outcome, gpu_ms: 5 };
        self.call(work, "finish").json(&finish).send().await.ok().map(|answer| answer.status())
    }

    /// Claims and does one job from beginning to end.
    pub(crate) async fn work(&self) -> Assignment {
        let work = self.claim().await;
        let outputs = self.upload(&work).await.unwrap();
        assert_eq!(self.done(&work, outputs).await, Some(StatusCode::OK));
        work
    }

    /// Works for ever, whatever happens to the other side; like the real one, it repeats a finish until it is heard.
    pub(crate) async fn serve(self) {
        loop {
            let Some(work) = self.claim_once().await else { continue };
            let Some(outputs) = self.upload(&work).await else { continue };
            loop {
                match self.done(&work, outputs.clone()).await {
                    Some(StatusCode::OK | StatusCode::CONFLICT) => break,
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        }
    }

    /// As [`Self::serve`], and waits for each job until somebody watches it, who is shown two previews.
    pub(crate) async fn serve_watched(self) {
        loop {
            let Some(work) = self.claim_once().await else { continue };
            while !matches!(self.renew(&work, 1).await, Ok(RenewAnswer::Continue { watched: true, .. })) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            for step in [work.request.steps / 2, work.request.steps - 1] {
                let preview = Preview { image: 0, step, format: ImageFormat::Jpeg, data: "/9j/4AAQ".to_owned() };
                drop(self.show(&work, step, vec![preview]).await);
            }
            let Some(outputs) = self.upload(&work).await else { continue };
            assert_eq!(self.done(&work, outputs).await, Some(StatusCode::OK));
        }
    }

    fn call(&self, work: &Assignment, what: &str) -> reqwest::RequestBuilder {
        let path = format!("{}/worker/v1/jobs/{}/attempts/{}/{what}", self.url, work.job, work.attempt);
        self.http.post(path).bearer_auth(&self.token)
    }
}

/// An assignment's upload URLs after the server came back on another port.
pub(crate) fn moved(mut work: Assignment, url: &str) -> Assignment {
    for target in &mut work.outputs {
        let path = target.put_url.splitn(4, '/').nth(3).unwrap().to_owned();
        target.put_url = format!("{url}/{path}");
    }
    work
}

/// A client that gives up on a silent server.
pub(crate) fn client() -> Client {
    // Making one takes tens of milliseconds. It keeps no connections: they end with the runtime of the test that opened them.
    static CLIENT: LazyLock<Client> = LazyLock::new(|| builder().pool_max_idle_per_host(0).build().unwrap());
    CLIENT.clone()
}

/// One for whoever asks over and over: it keeps its connections.
pub(crate) fn steady_client() -> Client {
    builder().build().unwrap()
}

fn builder() -> ClientBuilder {
    static PROVIDER: std::sync::Once = std::sync::Once::new();
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    Client::builder().timeout(Duration::from_secs(70)).redirect(reqwest::redirect::Policy::none())
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(bytes))
}

/// A picture of one colour, which the seed decides.
pub(crate) fn picture(width: u32, height: u32, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&vec![(seed % 251) as u8; (width * height) as usize]).unwrap();
    writer.finish().unwrap();
    bytes
}

# From what a team says to the values of the chart. Pure: no provider, no resource, nothing is called.

terraform {
  required_version = ">= 1.6"
}

locals {
  worker = merge(concat(
    [{
      pool      = var.workers.pool
      replicas  = var.workers.replicas
      managedBy = var.workers.scaling == null ? "release" : "pool"
      # The chart wants to hear of one GPU at least, even where they are off.
      gpu    = { enabled = var.workers.gpus > 0, count = max(var.workers.gpus, 1), runtimeClassName = var.workers.runtime_class }
      models = { existingClaim = var.workers.model_claim }
    }],
    [for scaling in var.workers.scaling[*] : { scaling = { enabled = true, min = scaling.min, max = scaling.max } }],
  )...)

  pools = [for provider in var.paid_providers : merge(concat(
    [{ name = provider.name, keySecret = { name = provider.key_secret, key = provider.key }, publicUrl = provider.public_url }],
    [for secret in compact([provider.webhook_secret]) : { webhookSecret = { name = secret } }],
  )...)]

  # Each part is an object of its own top-level values; none of them says what another says.
  parts = concat(
    [{ image = var.image, worker = local.worker, providers = { pools = local.pools } }],
    [for api in var.api[*] : { api = {
      enabled   = true
      replicas  = api.replicas
      publicUrl = api.public_url
      database  = { existingSecret = api.database_secret }
      ingress   = { enabled = api.host != "", host = api.host, className = api.ingress_class, tlsSecret = api.tls_secret }
    } }],
    [for monitoring in var.monitoring[*] : {
      serviceMonitor = { enabled = true, labels = monitoring.labels }
      prometheusRule = { enabled = true, labels = monitoring.labels }
      dashboards     = { enabled = true }
      networkPolicy = { metricsFrom = [
        { namespaceSelector = { matchLabels = { "kubernetes.io/metadata.name" = monitoring.namespace } } },
      ] }
    }],
    [for endpoint in var.traces_endpoint[*] : { telemetry = { otlp = { endpoint = endpoint } } }],
  )
}

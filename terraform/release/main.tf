# The chart as a release: what ../values says, handed on as it is. Nothing is decided here.

terraform {
  required_version = ">= 1.6"
  required_providers {
    helm = {
      source  = "hashicorp/helm"
      version = "~> 3.0"
    }
  }
}

resource "helm_release" "tintype" {
  name             = var.name
  namespace        = var.namespace
  create_namespace = true
  chart            = var.chart
  values           = concat([module.values.yaml], var.more_values)
  # The operator leads and a worker has claimed within a minute of the images' being there.
  wait    = true
  timeout = 600
}

module "values" {
  source = "../values"

  image           = var.image
  workers         = var.workers
  api             = var.api
  paid_providers  = var.paid_providers
  monitoring      = var.monitoring
  traces_endpoint = var.traces_endpoint
}

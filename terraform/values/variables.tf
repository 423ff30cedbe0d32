# What a platform team says of its Tintype. Everything else is the chart's own default, or `more_values` of ../release.

variable "image" {
  description = "Registry with the three images, without a slash at its end, and their tag; an empty tag is the chart's version."
  type = object({
    registry = string
    tag      = optional(string, "")
  })

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9._:/-]*[a-z0-9]$", var.image.registry))
    error_message = "image.registry is where images are pulled from, such as registry.example.com/tintype, without https:// and without a slash at its end."
  }
}

variable "workers" {
  description = "Workers of the release. With `scaling` the operator keeps as many as there is work for; `replicas` is how many it begins with. `gpus` of 0 draws on the CPU."
  type = object({
    pool          = optional(string, "default")
    replicas      = optional(number, 1)
    gpus          = optional(number, 0)
    runtime_class = optional(string, "")
    model_claim   = optional(string, "")
    scaling       = optional(object({ min = optional(number, 0), max = number }))
  })
  default = {}

  validation {
    condition     = var.workers.gpus >= 0 && var.workers.gpus <= 16 && floor(var.workers.gpus) == var.workers.gpus
    error_message = "workers.gpus is how many GPUs each worker has: a whole number from 0 to 16."
  }
  validation {
    condition     = alltrue([for scaling in var.workers.scaling[*] : scaling.min >= 0 && scaling.min <= scaling.max])
    error_message = "workers.scaling.min is more than workers.scaling.max, or less than 0."
  }
}

variable "api" {
  description = "The public API: the Secret with the URL of its PostgreSQL (key `url`), its address, and the Ingress to it, if `host` is said. Left out, jobs are sent with kubectl alone."
  type = object({
    database_secret = string
    public_url      = optional(string, "")
    replicas        = optional(number, 1)
    host            = optional(string, "")
    ingress_class   = optional(string, "")
    tls_secret      = optional(string, "")
  })
  default = null

  validation {
    condition     = alltrue([for api in var.api[*] : api.database_secret != ""])
    error_message = "api.database_secret is empty: the API keeps users, credits and jobs in a PostgreSQL of yours; name the Secret with its URL."
  }
  validation {
    condition     = alltrue([for api in var.api[*] : can(regex("^(https?://[^ ]*[^ /])?$", api.public_url))])
    error_message = "api.public_url is an address such as https://pictures.example.com, without a slash at its end."
  }
}

variable "paid_providers" {
  description = "Pools that Replicate, RunPod or Modal serve, one adapter each: the GpuPool's name, the Secret with the provider's key, and where webhooks reach the adapter. What may be spent is said in the GpuPool."
  type = list(object({
    name           = string
    key_secret     = string
    key            = optional(string, "key")
    public_url     = optional(string, "")
    webhook_secret = optional(string, "")
  }))
  default = []

  validation {
    condition     = length(distinct(var.paid_providers[*].name)) == length(var.paid_providers)
    error_message = "Two paid_providers have one name: each serves a pool of its own."
  }
  validation {
    condition     = alltrue([for provider in var.paid_providers : startswith(provider.public_url, "https://") || provider.public_url == ""])
    error_message = "The public_url of a paid provider is https: its webhooks go there."
  }
}

variable "monitoring" {
  description = "For the Prometheus operator: the namespace it scrapes from, and the labels by which it finds monitors and rules. Left out, there is none of it."
  type = object({
    namespace = string
    labels    = optional(map(string), {})
  })
  default = null
}

variable "traces_endpoint" {
  description = "Where traces go, by OTLP over HTTP, such as http://collector.monitoring:4318. Left out, nowhere."
  type        = string
  default     = null
}

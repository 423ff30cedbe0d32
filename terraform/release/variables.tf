# The variables of ../values are its own to describe and judge.

variable "name" {
  description = "Name of the release."
  type        = string
  default     = "tintype"
}

variable "namespace" {
  description = "Namespace of the release; keep nothing else in it."
  type        = string
  default     = "tintype"
}

variable "chart" {
  description = "The chart: a folder of a checkout, or a packed chart."
  type        = string
}

variable "more_values" {
  description = "YAML of more values; later ones win, and win over what is said here."
  type        = list(string)
  default     = []
}

variable "image" {
  description = "See ../values."
  type        = any
}

variable "workers" {
  description = "See ../values."
  type        = any
  default     = {}
}

variable "api" {
  description = "See ../values."
  type        = any
  default     = null
}

variable "paid_providers" {
  description = "See ../values."
  type        = any
  default     = []
}

variable "monitoring" {
  description = "See ../values."
  type        = any
  default     = null
}

variable "traces_endpoint" {
  description = "See ../values."
  type        = string
  default     = null
}

output "values" {
  description = "The values, as an object."
  value       = merge(local.parts...)
}

output "yaml" {
  description = "The values, as `helm install --values` reads them."
  value       = yamlencode(merge(local.parts...))
}

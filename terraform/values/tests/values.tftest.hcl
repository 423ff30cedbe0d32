# `tofu test` in the folder above. What comes out is also given to the chart, by tests/charts/terraform.rs.

variables {
  image = { registry = "registry.example.com/tintype" }
}

run "little_is_said_and_little_comes_out" {
  command = plan

  assert {
    condition     = output.values.worker.managedBy == "release" && !output.values.worker.gpu.enabled
    error_message = "Without a word of them, workers are the release's and draw on the CPU."
  }
  assert {
    condition     = length(setsubtract(keys(output.values), ["image", "worker", "providers"])) == 0
    error_message = "What nobody spoke of is left to the chart."
  }
  assert {
    condition     = yamldecode(output.yaml) == output.values
    error_message = "The YAML is not the values."
  }
}

run "workers_that_scale_are_kept_by_the_pool" {
  command = plan

  variables {
    workers = { pool = "l40s", gpus = 2, runtime_class = "nvidia", scaling = { max = 8 } }
  }

  assert {
    condition     = output.values.worker.managedBy == "pool" && output.values.worker.scaling.min == 0 && output.values.worker.scaling.max == 8
    error_message = "The operator keeps from none to eight."
  }
  assert {
    condition     = output.values.worker.gpu.enabled && output.values.worker.gpu.count == 2
    error_message = "Each has two GPUs."
  }
}

run "an_api_has_an_ingress_where_a_host_is_said" {
  command = plan

  variables {
    api = { database_secret = "tintype-database", host = "pictures.example.com" }
  }

  assert {
    condition     = output.values.api.ingress.enabled && output.values.api.database.existingSecret == "tintype-database"
    error_message = "The API answers to the host and has its database."
  }
}

run "a_paid_provider_is_named_with_its_key" {
  command = plan

  variables {
    paid_providers = [{ name = "burst", key_secret = "replicate", key = "token" }]
  }

  assert {
    condition     = output.values.providers.pools[0].keySecret.name == "replicate" && !can(output.values.providers.pools[0].webhookSecret)
    error_message = "The key is named, and no secret of webhooks where none is."
  }
}

run "an_address_is_no_registry" {
  command = plan
  variables {
    image = { registry = "https://registry.example.com/" }
  }
  expect_failures = [var.image]
}

run "a_part_of_a_gpu_is_none" {
  command = plan
  variables {
    workers = { gpus = 0.5 }
  }
  expect_failures = [var.workers]
}

run "more_at_least_than_at_most_is_refused" {
  command = plan
  variables {
    workers = { scaling = { min = 3, max = 2 } }
  }
  expect_failures = [var.workers]
}

run "an_api_without_a_database_is_refused" {
  command = plan
  variables {
    api = { database_secret = "" }
  }
  expect_failures = [var.api]
}

run "two_adapters_of_one_pool_are_refused" {
  command = plan
  variables {
    paid_providers = [{ name = "burst", key_secret = "a" }, { name = "burst", key_secret = "b" }]
  }
  expect_failures = [var.paid_providers]
}

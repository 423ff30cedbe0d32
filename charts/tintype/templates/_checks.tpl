{{/* What the schema cannot say: values that are each right and do not go together. Each message says what to do. */}}
{{- define "tintype.checks" -}}
{{- $v := .Values }}
{{- if and $v.api.enabled (not $v.api.database.existingSecret) (not $v.database.enabled) }}
{{- fail "api.enabled is true, api.database.existingSecret is empty and database.enabled is false. The API keeps users, credits and jobs in PostgreSQL. Make a Secret with the URL of your database (kubectl create secret generic tintype-database --from-literal=url=postgres://USER:PASSWORD@HOST:5432/DATABASE) and set api.database.existingSecret=tintype-database; or leave database.enabled=true for a small one of this release." }}
{{- end }}
{{- if and $v.database.ephemeral $v.database.existingClaim }}
{{- fail "database.ephemeral is true and database.existingClaim is named: the data lies in the pod or in the claim, not in both." }}
{{- end }}
{{- if and $v.api.enabled $v.api.ingress.enabled (not $v.api.ingress.host) }}
{{- fail "api.ingress.enabled is true and api.ingress.host is empty: name the host the Ingress answers to." }}
{{- end }}
{{- if and $v.operator.enabled (gt (int $v.operator.replicas) 1) (not $v.objectStore.bucket) (not $v.operator.store.existingClaim) (not (has "ReadWriteMany" $v.operator.store.accessModes)) }}
{{- fail "operator.replicas is more than 1 and the store's volume can be mounted on one node only. Set operator.store.accessModes={ReadWriteMany} with a storage class that can do it, name such a claim in operator.store.existingClaim, keep pictures in a bucket (objectStore.bucket), or leave operator.replicas=1." }}
{{- end }}
{{- if and $v.operator.enabled $v.objectStore.bucket (not $v.objectStore.existingSecret) }}
{{- fail "objectStore.bucket is named and objectStore.existingSecret is empty: make a Secret with the access key (kubectl create secret generic tintype-bucket --from-literal=access-key-id=ID --from-literal=secret-access-key=SECRET) and set objectStore.existingSecret=tintype-bucket." }}
{{- end }}
{{- if not $v.operator.enabled }}
{{- if and (or $v.worker.enabled $v.api.enabled $v.providers.pools) (not $v.dispatch.url) }}
{{- fail "operator.enabled is false and dispatch.url is empty: name the operator to work with, such as http://tintype-dispatch.tintype.svc:8080." }}
{{- end }}
{{- if and (or $v.worker.enabled $v.providers.pools) (not $v.secrets.workerToken.existingSecret) }}
{{- fail "operator.enabled is false and secrets.workerToken.existingSecret is empty: name the Secret with the token the operator in dispatch.url knows." }}
{{- end }}
{{- if and $v.api.enabled (not $v.secrets.dispatchToken.existingSecret) }}
{{- fail "operator.enabled is false and secrets.dispatchToken.existingSecret is empty: name the Secret with the token the operator in dispatch.url knows." }}
{{- end }}
{{- end }}
{{- if and $v.worker.enabled (not $v.worker.models.bundledDir) (not $v.worker.models.existingClaim) }}
{{- fail "worker.models.bundledDir and worker.models.existingClaim are both empty: a worker without models can make no picture. Name a folder in the image or a claim with models." }}
{{- end }}
{{- if and $v.worker.models.cacheClaim $v.worker.models.cachePersistent }}
{{- fail "worker.models.cacheClaim is named and worker.models.cachePersistent is true: name the claim, or have one made." }}
{{- end }}
{{- if and $v.worker.scaling.enabled (ne $v.worker.managedBy "pool") }}
{{- fail "worker.scaling.enabled is true and worker.managedBy is release: only workers the operator keeps follow the work there is. Set worker.managedBy=pool." }}
{{- end }}
{{- if and $v.worker.scaling.enabled (gt (int $v.worker.scaling.min) (int $v.worker.scaling.max)) }}
{{- fail "worker.scaling.min is more than worker.scaling.max." }}
{{- end }}
{{- $pools := list }}
{{- range $v.providers.pools }}
{{- if has .name $pools }}
{{- fail (printf "providers.pools has %s twice: one adapter serves a pool." .name) }}
{{- end }}
{{- $pools = append $pools .name }}
{{- if gt (len (include "tintype.providerName" (dict "root" $ "pool" .))) 63 }}
{{- fail (printf "providers.pools: with the pool's name %s the name of its Service has more than 63 characters. Take a shorter one, or set fullnameOverride." .name) }}
{{- end }}
{{- if and .webhookSecret (not .publicUrl) }}
{{- fail (printf "providers.pools: %s has a webhookSecret and no publicUrl: say where the provider's webhooks reach the adapter, or leave the secret out." .name) }}
{{- end }}
{{- end }}
{{- if and $v.serviceMonitor.enabled $v.podMonitor.enabled }}
{{- fail "serviceMonitor.enabled and podMonitor.enabled are both true: every number would be there twice. Leave one of them off." }}
{{- end }}
{{- range $kind, $on := dict "serviceMonitor" $v.serviceMonitor.enabled "podMonitor" $v.podMonitor.enabled }}
{{- if $on }}
{{- if not ($.Capabilities.APIVersions.Has "monitoring.coreos.com/v1") }}
{{- fail (printf "%s.enabled is true and this cluster does not know monitoring.coreos.com/v1. Install the Prometheus operator first, or leave it off. (`helm template` asks no cluster: pass --api-versions monitoring.coreos.com/v1.)" $kind) }}
{{- end }}
{{- if and $v.networkPolicy.enabled (not $v.networkPolicy.metricsFrom) }}
{{- fail (printf "%s.enabled and networkPolicy.enabled are true and networkPolicy.metricsFrom is empty: Prometheus could not reach operator and workers. Name its pods, such as networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name=monitoring." $kind) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $v.prometheusRule.enabled (not (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1")) }}
{{- fail "prometheusRule.enabled is true and this cluster does not know monitoring.coreos.com/v1 PrometheusRule. Install the Prometheus operator first, or leave it off and name monitoring/alerts.yaml under Prometheus' rule_files. (`helm template` asks no cluster: pass --api-versions monitoring.coreos.com/v1.)" }}
{{- end }}
{{- end }}

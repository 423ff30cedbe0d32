{{/* The adapters of paid providers: what all of them share, and the pod of one. Nothing here makes an object. */}}

{{/* The values of all adapters as those of a component: they lie in the worker's image. As JSON. */}}
{{- define "tintype.providers" -}}
{{- $of := deepCopy .Values.providers }}
{{- $_ := set $of "image" .Values.worker.image }}
{{- $_ := set $of "enabled" (gt (len .Values.providers.pools) 0) }}
{{- toJson $of }}
{{- end }}

{{/* What the objects of one adapter are called. Takes a dict with `root` and `pool`, an entry of `providers.pools`. */}}
{{- define "tintype.providerName" -}}
{{- printf "%s-provider-%s" (include "tintype.fullname" .root) .pool.name }}
{{- end }}

{{/* By which the pods of one adapter are found; the operator says the same of the pods of a pool. Takes `root` and `pool`. */}}
{{- define "tintype.providerSelector" -}}
{{ include "tintype.selectorLabels" (dict "root" .root "component" "provider") }}
tintype.dev/pool: {{ .pool.name | quote }}
{{- end }}

{{/* A secret's key as the file `key` in a folder. Takes a dict with `name` (the volume's) and `of`. */}}
{{- define "tintype.keyVolume" -}}
- name: {{ .name }}
  secret:
    secretName: {{ .of.name }}
    # 0440 in decimal, as with the tokens.
    defaultMode: 288
    items:
      - { key: {{ .of.key | default "key" }}, path: key }
{{- end }}

{{/* The pod of one adapter: metadata and spec. Takes a dict with `root` and `pool`. */}}
{{- define "tintype.providerPod" -}}
{{- $root := .root }}
{{- $pool := .pool }}
{{- $v := include "tintype.providers" $root | fromJson }}
{{- $of := dict "root" $root "component" "provider" "of" $v }}
{{- $signer := include "tintype.signer" $root }}
metadata:
  {{- $metadata := include "tintype.podMetadata" $of | fromYaml }}
  {{- $_ := set $metadata.labels "tintype.dev/pool" $pool.name }}
  {{- toYaml $metadata | nindent 2 }}
spec:
  {{- include "tintype.podSpec" $of | nindent 2 }}
  {{- with $v.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  # A job is given back at once; its purchase goes on without its attempt.
  terminationGracePeriodSeconds: 60
  containers:
    # The name by which the operator tells a worker from what stands beside it.
    - name: worker
      {{- include "tintype.container" $of | nindent 6 }}
      command: [/usr/bin/tintype-provider]
      {{- with $v.extraArgs }}
      args:
        {{- range . }}
        - {{ . | quote }}
        {{- end }}
      {{- end }}
      env:
        - name: TINTYPE_POOL
          value: {{ $pool.name | quote }}
        - name: POD_NAMESPACE
          valueFrom: { fieldRef: { fieldPath: metadata.namespace } }
        - name: TINTYPE_DISPATCH_URL
          value: {{ include "tintype.dispatchUrl" $root | quote }}
        - name: TINTYPE_WORKER_TOKEN_FILE
          value: /etc/tintype/worker-token/token
        # Where the operator puts it too, if the pool names a Secret of its own.
        - name: TINTYPE_PROVIDER_KEY_FILE
          value: /etc/tintype/provider-key/key
        {{- with $pool.publicUrl }}
        - name: TINTYPE_PROVIDER_PUBLIC_URL
          value: {{ . | quote }}
        {{- end }}
        {{- if $pool.webhookSecret }}
        - name: TINTYPE_PROVIDER_WEBHOOK_SECRET_FILE
          value: /etc/tintype/webhook-secret/key
        {{- end }}
        - name: TINTYPE_WORKER_LISTEN
          value: 0.0.0.0:8080
        - name: TINTYPE_LOG
          value: {{ $v.logLevel | quote }}
        {{- include "tintype.c2paEnv" $root | nindent 8 }}
        {{- with $v.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - { name: http, containerPort: 8080 }
      livenessProbe:
        httpGet: { path: /healthz, port: http }
        periodSeconds: 20
        timeoutSeconds: 10
      readinessProbe:
        httpGet: { path: /readyz, port: http }
        periodSeconds: 5
        timeoutSeconds: 5
      {{- with $v.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - { name: tmp, mountPath: /tmp }
        - { name: worker-token, mountPath: /etc/tintype/worker-token, readOnly: true }
        - { name: provider-key, mountPath: /etc/tintype/provider-key, readOnly: true }
        {{- if $pool.webhookSecret }}
        - { name: webhook-secret, mountPath: /etc/tintype/webhook-secret, readOnly: true }
        {{- end }}
        {{- if $signer }}
        - { name: c2pa, mountPath: /etc/tintype/c2pa, readOnly: true }
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {}
    {{- include "tintype.secretVolume" (dict "root" $root "of" $root.Values.secrets.workerToken "suffix" "worker-token") | nindent 4 }}
    {{- include "tintype.keyVolume" (dict "name" "provider-key" "of" $pool.keySecret) | nindent 4 }}
    {{- if $pool.webhookSecret }}
    {{- include "tintype.keyVolume" (dict "name" "webhook-secret" "of" $pool.webhookSecret) | nindent 4 }}
    {{- end }}
    {{- if $signer }}
    {{- include "tintype.signerVolume" $root | nindent 4 }}
    {{- end }}
{{- end }}

{{/* The pod of a worker, whoever keeps it: metadata and spec. Takes the root. */}}
{{- define "tintype.workerPod" -}}
{{- $v := .Values.worker }}
{{- $of := dict "root" . "component" "worker" "of" $v }}
{{- $c2pa := include "tintype.signer" . }}
{{- $models := compact (list $v.models.bundledDir (ternary "/models" "" (ne $v.models.existingClaim "")) "/etc/tintype/models") -}}
metadata:
  {{- include "tintype.podMetadata" $of | nindent 2 }}
spec:
  {{- include "tintype.podSpec" $of | nindent 2 }}
  {{- if and $v.gpu.enabled $v.gpu.runtimeClassName }}
  runtimeClassName: {{ $v.gpu.runtimeClassName }}
  {{- end }}
  {{- with concat $v.tolerations (ternary $v.gpu.tolerations list $v.gpu.enabled) }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ $v.terminationGracePeriodSeconds }}
  containers:
    - name: worker
      {{- include "tintype.container" $of | nindent 6 }}
      {{- $args := $v.extraArgs }}
      {{- if and $v.gpu.enabled $v.gpu.dcgmMetrics }}
      {{- $args = prepend $args "--dcgm-metrics" }}
      {{- end }}
      {{- with $args }}
      args:
        {{- range . }}
        - {{ . | quote }}
        {{- end }}
      {{- end }}
      env:
        - name: TINTYPE_WORKER_ID
          valueFrom: { fieldRef: { fieldPath: metadata.name } }
        - name: TINTYPE_DISPATCH_URL
          value: {{ include "tintype.dispatchUrl" . | quote }}
        - name: TINTYPE_WORKER_TOKEN_FILE
          value: /etc/tintype/worker-token/token
        - name: TINTYPE_POOL
          value: {{ $v.pool | quote }}
        - name: TINTYPE_MODELS_DIR
          value: {{ join ":" $models | quote }}
        # Where models that are fetched are kept.
        - name: TINTYPE_MODELS_CACHE
          value: /var/cache/tintype
        - name: TINTYPE_WORKER_LISTEN
          value: 0.0.0.0:8080
        - name: TINTYPE_LOG
          value: {{ $v.logLevel | quote }}
        {{- with include "tintype.telemetryEnv" . }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- include "tintype.c2paEnv" . | nindent 8 }}
        {{- if $v.gpu.enabled }}
        # `utility` is NVML, by which a worker sees what its GPUs are doing.
        - name: NVIDIA_DRIVER_CAPABILITIES
          value: compute,utility
        {{- end }}
        {{- with $v.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - { name: http, containerPort: 8080 }
      livenessProbe:
        httpGet: { path: /healthz, port: http }
        periodSeconds: 20
        # A busy worker answers late; its lease at the operator is what notices one that hangs.
        timeoutSeconds: 10
      readinessProbe:
        httpGet: { path: /readyz, port: http }
        periodSeconds: 5
        timeoutSeconds: 5
      {{- $resources := deepCopy $v.resources }}
      {{- if $v.gpu.enabled }}
      {{- $_ := set $resources "limits" (merge (dict $v.gpu.resourceName $v.gpu.count) ($resources.limits | default dict)) }}
      {{- end }}
      {{- with $resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - { name: tmp, mountPath: /tmp }
        - { name: worker-token, mountPath: /etc/tintype/worker-token, readOnly: true }
        - { name: cards, mountPath: /etc/tintype/models, readOnly: true }
        - { name: cache, mountPath: /var/cache/tintype }
        {{- if $c2pa }}
        - { name: c2pa, mountPath: /etc/tintype/c2pa, readOnly: true }
        {{- end }}
        {{- if $v.models.existingClaim }}
        - name: models
          mountPath: /models
          readOnly: true
          {{- with $v.models.subPath }}
          subPath: {{ . }}
          {{- end }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {}
    # Which models there are to fetch, as the operator writes it; not there yet when the first worker starts.
    - name: cards
      configMap:
        name: {{ default (printf "%s-models" (include "tintype.leaseName" .)) $v.models.cards }}
        optional: true
    - name: cache
      {{- if or $v.models.cacheClaim $v.models.cachePersistent }}
      persistentVolumeClaim:
        claimName: {{ $v.models.cacheClaim | default (printf "%s-models-cache" (include "tintype.fullname" .)) }}
      {{- else }}
      emptyDir: { {{- with $v.models.cacheSize }} sizeLimit: {{ . }} {{ end -}} }
      {{- end }}
    {{- include "tintype.secretVolume" (dict "root" . "of" .Values.secrets.workerToken "suffix" "worker-token") | nindent 4 }}
    {{- if $c2pa }}
    {{- include "tintype.signerVolume" . | nindent 4 }}
    {{- end }}
    {{- with $v.models.existingClaim }}
    - name: models
      persistentVolumeClaim:
        claimName: {{ . }}
        readOnly: true
    {{- end }}
{{- end }}

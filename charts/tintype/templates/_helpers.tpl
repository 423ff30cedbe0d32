{{/* Names, labels, images and the parts every pod has. Nothing here makes an object. */}}

{{- define "tintype.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Roles of the whole cluster need a name no other namespace's release has. */}}
{{- define "tintype.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "tintype.fullname" .) }}
{{- end }}

{{/* Takes a dict with `root` and `component`. */}}
{{- define "tintype.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Takes a dict with `root` and `component`. */}}
{{- define "tintype.labels" -}}
{{ include "tintype.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tintype
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Takes a dict with `root` and `of`, the values of a component. */}}
{{- define "tintype.image" -}}
{{- $name := printf "%s/%s" .root.Values.image.registry .of.image.repository }}
{{- if .of.image.digest }}
{{- printf "%s@%s" $name .of.image.digest }}
{{- else }}
{{- printf "%s:%s" $name (coalesce .of.image.tag .root.Values.image.tag .root.Chart.AppVersion) }}
{{- end }}
{{- end }}

{{/* Takes a dict with `root`, `component` and `of`. */}}
{{- define "tintype.serviceAccountName" -}}
{{- if .of.serviceAccount.create }}
{{- default (printf "%s-%s" (include "tintype.fullname" .root) .component) .of.serviceAccount.name }}
{{- else }}
{{- required (printf "%s.serviceAccount.name is empty and %s.serviceAccount.create is false: name an account that exists" .component .component) .of.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* Takes a dict with `root`, `of` (values of the secret) and `suffix`. */}}
{{- define "tintype.secretName" -}}
{{- default (printf "%s-%s" (include "tintype.fullname" .root) .suffix) .of.existingSecret }}
{{- end }}

{{- define "tintype.dispatchUrl" -}}
{{- default (printf "http://%s-dispatch.%s.svc:8080" (include "tintype.fullname" .) .Release.Namespace) .Values.dispatch.url }}
{{- end }}

{{/* What stands in each pod's `spec`, whoever runs in it. Takes a dict with `root`, `component` and `of`. */}}
{{- define "tintype.podSpec" -}}
serviceAccountName: {{ include "tintype.serviceAccountName" . }}
{{- /* Workers hold model code, and a database needs no cluster: they get no token of it. */}}
automountServiceAccountToken: {{ has .component (list "operator" "api" "provider" "database-secret" "test") }}
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with .of.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .of.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if and (gt (int .of.replicas) 1) (ne .component "worker") }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "tintype.selectorLabels" . | nindent 8 }}
{{- end }}
{{- end }}

{{/* What stands in each container. Takes a dict with `root` and `of`. */}}
{{- define "tintype.container" -}}
image: {{ include "tintype.image" . | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- toYaml .root.Values.containerSecurityContext | nindent 2 }}
{{- end }}

{{/* Where traces go, for every program. Takes the root. */}}
{{- define "tintype.telemetryEnv" -}}
{{- with .Values.telemetry.otlp }}
{{- if .endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .endpoint | quote }}
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ .ratio | toString | quote }}
{{- with .headersSecret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom: { secretKeyRef: { name: {{ . }}, key: headers } }
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Labels and annotations of a pod. Takes a dict with `root`, `component` and `of`. */}}
{{- define "tintype.podMetadata" -}}
labels:
  {{- include "tintype.selectorLabels" . | nindent 2 }}
  {{- with .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .of.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .of.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Annotations of what `helm test` makes. Takes the weight. */}}
{{- define "tintype.testHook" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* `true` where the release runs a database of its own. Takes the root. */}}
{{- define "tintype.databaseBundled" -}}
{{- if and .Values.api.enabled .Values.database.enabled (not .Values.api.database.existingSecret) }}true{{ end }}
{{- end }}

{{/* The Secret with the database's URL: yours, or the one a Job of the release makes once. Takes the root. */}}
{{- define "tintype.databaseSecret" -}}
{{- default (printf "%s-database-access" (include "tintype.fullname" .)) .Values.api.database.existingSecret }}
{{- end }}

{{/* The pod of the Job that makes that Secret. Takes a dict with `root`, `component` and `of`. */}}
{{- define "tintype.databaseSecretPod" -}}
metadata:
  {{- include "tintype.podMetadata" . | nindent 2 }}
spec:
  {{- include "tintype.podSpec" . | nindent 2 }}
  restartPolicy: OnFailure
  {{- with .root.Values.api.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: database-secret
      {{- include "tintype.container" . | nindent 6 }}
      args:
        - database-secret
        - --name={{ include "tintype.databaseSecret" .root }}
        - --host={{ include "tintype.fullname" .root }}-database.{{ .root.Release.Namespace }}.svc
      env:
        - name: POD_NAMESPACE
          valueFrom: { fieldRef: { fieldPath: metadata.namespace } }
      resources:
        requests: { cpu: 10m, memory: 32Mi }
        limits: { memory: 128Mi }
{{- end }}

{{- define "tintype.leaseName" -}}
{{- include "tintype.fullname" . }}-operator
{{- end }}

{{/* One secret as a folder with the file `token`, whatever its key is called. Takes `root`, `of` and `suffix`. */}}
{{- define "tintype.secretVolume" -}}
- name: {{ .suffix }}
  secret:
    secretName: {{ include "tintype.secretName" . }}
    # 0440 in decimal, which every YAML reader reads alike: for the group the pod's files belong to, for nobody else.
    defaultMode: 288
    items:
      - { key: {{ .of.key }}, path: token }
{{- end }}

{{/* The Secret pictures are signed with, if there is one. Takes the root. */}}
{{- define "tintype.signer" -}}
{{- ternary .Values.worker.c2pa.existingSecret "" .Values.worker.c2pa.enabled }}
{{- end }}

{{/* How whoever writes pictures signs them. Takes the root. */}}
{{- define "tintype.c2paEnv" -}}
- name: TINTYPE_C2PA
  value: {{ ternary "on" "off" .Values.worker.c2pa.enabled | quote }}
{{- if include "tintype.signer" . }}
- name: TINTYPE_C2PA_KEY
  value: /etc/tintype/c2pa/tls.key
- name: TINTYPE_C2PA_CERT
  value: /etc/tintype/c2pa/tls.crt
{{- else if .Values.worker.c2pa.enabled }}
# A key of the pod's own, for as long as it lives.
- name: TINTYPE_C2PA_DIR
  value: /tmp/c2pa
{{- end }}
{{- end }}

{{/* The volume of that Secret. Takes the root. */}}
{{- define "tintype.signerVolume" -}}
- name: c2pa
  secret:
    secretName: {{ include "tintype.signer" . }}
    # 0440 in decimal, as with the tokens.
    defaultMode: 288
{{- end }}

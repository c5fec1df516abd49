#!/usr/bin/env bash
# Prepare a Google Cloud project for the builds and the gke overlay. What exists is left as it is, so it
# may be run again at any time. docs/cloud.md says what each part is for.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: PROJECT=my-project BUCKET=my-bucket k8s/setup.sh [--dry-run]

Create what is missing in a Google Cloud project: APIs, bucket, repository of images, accounts and roles of
builds and nodes, cluster, and access of the cluster's Pods to the bucket.

  --dry-run   look, and print the commands that would run; change nothing

  PROJECT     id of the project; it exists and has a billing account
  BUCKET      name of the bucket, without gs://
  REGION      of bucket, repository and cluster; europe-west4 by default
  CLUSTER     name of the cluster; dem by default
USAGE
}

refuse() {
  printf 'error: %s\n' "$1" >&2
  exit 2
}

case $* in
  "") dry_run= ;;
  --dry-run) dry_run=yes ;;
  -h | --help) usage && exit ;;
  *) refuse "unknown arguments $*; see k8s/setup.sh --help" ;;
esac

PROJECT=${PROJECT-} BUCKET=${BUCKET-} REGION=${REGION:-europe-west4} CLUSTER=${CLUSTER:-dem}
REPOSITORY=deep-embedded-music  # as in cloudbuild.yaml and in the overlay
NAMESPACE=deep-embedded-music
BUILDS=dem-builds@$PROJECT.iam.gserviceaccount.com
NODES=dem-nodes@$PROJECT.iam.gserviceaccount.com
APIS=(artifactregistry cloudbuild cloudresourcemanager compute container containeranalysis containerscanning
  iam ondemandscanning storage)
BUILD_ROLES=(artifactregistry.writer containeranalysis.admin logging.logWriter ondemandscanning.admin
  storage.admin)
export CLOUDSDK_CORE_PROJECT=$PROJECT CLOUDSDK_CORE_DISABLE_PROMPTS=1

missing=0
new=  # what this call has made, or a dry run would make
pauses=  # in seconds, before a command is tried again

exists() {
  printf 'exists   %s\n' "$1"
}

warn() {
  printf 'warning: %s\n' "$1" >&2
}

# change WHAT COMMAND...: print the command, and run it unless this is a dry run.
change() {
  printf 'missing  %s\n+' "$1"
  new+="<$1>"
  missing=$((missing + 1))
  shift
  printf ' %q' "$@"
  printf '\n'
  [[ $dry_run ]] || attempt "$@"
}

attempt() {
  local pause
  for pause in $pauses; do
    "$@" && return
    sleep "$pause"
  done
  "$@"
}

# ensure WHAT NAME NAMES COMMAND...: make it, unless its name is among those that exist.
ensure() {
  if grep -qxF -- "$2" <<< "$3"; then exists "$1"; else change "$1" "${@:4}"; fi
}

is_on() {
  grep -qx "$1.googleapis.com" <<< "$enabled"
}

# listed API COMMAND...: what gcloud lists; nothing if the API is off, as it may be in a dry run.
listed() {
  if is_on "$1"; then gcloud "${@:2}"; fi
}

# access_to WHAT API GROUP NAME...: following calls of `grant` are about what `gcloud GROUP` has by NAME.
access_to() {
  resource=$1 policy=
  read -ra group <<< "$3"
  name=("${@:4}")
  [[ $dry_run && $new == *"<$1>"* ]] || policy=$(listed "$2" "${group[@]}" get-iam-policy "${name[@]}" \
    --flatten 'bindings[].members' --format 'value(bindings.role,bindings.members)')
}

# grant ROLE MEMBER
grant() {
  local pauses=
  # A new account is known to all services only after some seconds.
  [[ $new != *"<account ${2##*:}>"* ]] || pauses="2 4 8 16 32"
  ensure "roles/$1 on $resource for ${2##*[:/]}" "roles/$1"$'\t'"$2" "$policy" \
    gcloud "${group[@]}" add-iam-policy-binding "${name[@]}" --member "$2" --role "roles/$1" --condition None
}

check_arguments() {
  command -v gcloud > /dev/null || refuse "gcloud is not installed: https://cloud.google.com/sdk/docs/install"
  [[ $PROJECT =~ ^[a-z][-a-z0-9]{4,28}[a-z0-9]$ ]] || refuse "PROJECT='$PROJECT' is not the id of a project"
  [[ $BUCKET =~ ^[a-z0-9][-a-z0-9_.]{1,61}[a-z0-9]$ ]] || refuse "BUCKET='$BUCKET' is not the name of a bucket"
  local tool
  for tool in kubectl gke-gcloud-auth-plugin; do
    command -v "$tool" > /dev/null || warn "$tool is not installed: gcloud components install $tool"
  done
}

check_project() {
  local account billing
  account=$(gcloud auth list --filter status:ACTIVE --format 'value(account)')
  [[ $account ]] || refuse "gcloud has no account: gcloud auth login"
  number=$(gcloud projects describe "$PROJECT" --format 'value(projectNumber)')
  exists "project $PROJECT, number $number"
  billing=$(gcloud billing projects describe "$PROJECT" --format 'value(billingEnabled)') || billing=unknown
  case $billing in
    True) exists "billing account" ;;
    unknown) warn "cannot see whether $PROJECT has a billing account" ;;
    *) refuse "$PROJECT has no billing account: gcloud billing projects link $PROJECT --billing-account ID" ;;
  esac
}

ensure_apis() {
  local api absent=()
  enabled=$(gcloud services list --enabled --format 'value(config.name)')
  for api in "${APIS[@]}"; do
    grep -qx "$api.googleapis.com" <<< "$enabled" || absent+=("$api.googleapis.com")
  done
  if [[ ${#absent[@]} -eq 0 ]]; then
    exists "${#APIS[@]} APIs"
    return
  fi
  change "${#absent[@]} of ${#APIS[@]} APIs" gcloud services enable "${absent[@]}"
  [[ $dry_run ]] || enabled+=$(printf '\n%s' "${absent[@]}")
}

check_quota() {
  local limit
  if ! is_on compute; then
    warn "the quota of GPUs is seen only when the API compute is on"
    return
  fi
  limit=$(gcloud compute regions describe "$REGION" --flatten 'quotas[]' \
    --format 'value(quotas.metric,quotas.limit)' | awk '$1 == "NVIDIA_L4_GPUS" {print int($2)}')
  if [[ ${limit:-0} -gt 0 ]]; then
    exists "quota of $limit NVIDIA_L4_GPUS in $REGION"
  else
    warn "there is no quota of NVIDIA_L4_GPUS in $REGION: training needs 1, a search 1 for each worker"
  fi
}

ensure_storage() {
  local names
  names=$(listed storage storage buckets list --format 'value(name)')
  ensure "bucket $BUCKET" "$BUCKET" "$names" gcloud storage buckets create "gs://$BUCKET" \
    --location "$REGION" --uniform-bucket-level-access --public-access-prevention
  names=$(listed artifactregistry artifacts repositories list --location "$REGION" \
    --format 'value(name.basename())')
  ensure "repository $REPOSITORY" "$REPOSITORY" "$names" gcloud artifacts repositories create "$REPOSITORY" \
    --repository-format docker --location "$REGION"
}

ensure_accounts() {
  local names role
  names=$(listed iam iam service-accounts list --format 'value(email)')
  ensure "account $BUILDS" "$BUILDS" "$names" gcloud iam service-accounts create "${BUILDS%%@*}" \
    --display-name "Builds of deep-embedded-music"
  ensure "account $NODES" "$NODES" "$names" gcloud iam service-accounts create "${NODES%%@*}" \
    --display-name "Nodes of deep-embedded-music"
  access_to "project $PROJECT" cloudresourcemanager projects "$PROJECT"
  for role in "${BUILD_ROLES[@]}"; do
    grant "$role" "serviceAccount:$BUILDS"
  done
  grant container.defaultNodeServiceAccount "serviceAccount:$NODES"
}

ensure_cluster() {
  local names account=$NODES pool
  names=$(listed container container clusters list --location "$REGION" --format 'value(name)')
  ensure "cluster $CLUSTER" "$CLUSTER" "$names" \
    gcloud container clusters create-auto "$CLUSTER" --location "$REGION" --service-account "$NODES"
  if [[ $new != *"<cluster $CLUSTER>"* ]]; then  # another way may have made it
    pool=$(describe_cluster workloadIdentityConfig.workloadPool)
    [[ $pool ]] || refuse "cluster $CLUSTER has no workload identity: gcloud container clusters update \
$CLUSTER --location $REGION --workload-pool $PROJECT.svc.id.goog"
    account=$(describe_cluster nodeConfig.serviceAccount)
    [[ $account == *@* ]] || account=$number-compute@developer.gserviceaccount.com
  fi
  access_to "repository $REPOSITORY" artifactregistry "artifacts repositories" \
    "$REPOSITORY" --location "$REGION"
  grant artifactregistry.reader "serviceAccount:$account"
}

describe_cluster() {
  gcloud container clusters describe "$CLUSTER" --location "$REGION" --format "value($1)"
}

# The ServiceAccounts of k8s/base/common get access themselves; there are no keys.
ensure_access() {
  local account accounts=principal://iam.googleapis.com/projects/$number/locations/global
  accounts+=/workloadIdentityPools/$PROJECT.svc.id.goog/subject/ns/$NAMESPACE/sa
  access_to "bucket $BUCKET" storage "storage buckets" "gs://$BUCKET"
  for account in features trainer; do
    grant storage.objectUser "$accounts/$account"
    grant storage.legacyBucketReader "$accounts/$account"
  done
  grant storage.objectViewer "$accounts/tensorboard"
}

check_arguments
check_project
ensure_apis
check_quota
ensure_storage
ensure_accounts
ensure_cluster
ensure_access
if [[ $dry_run ]]; then
  echo "$missing things are missing; nothing was changed"
else
  gcloud container clusters get-credentials "$CLUSTER" --location "$REGION"
  echo "$missing things were missing; all are there"
  echo "before a search, when the namespace exists: kubectl -n $NAMESPACE create secret generic search-token \
--from-literal token=\$(openssl rand -hex 32)"
fi

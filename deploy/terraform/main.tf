data "alicloud_account" "this" {}

data "alicloud_regions" "this" {
  current = true
}

locals {
  account  = data.alicloud_account.this.id
  region   = data.alicloud_regions.this.regions[0].id
  logstore = "actiontrail_${var.trail_name}"

  reader_name    = "${var.name_prefix}-reader"
  responder_name = "${var.name_prefix}-responder"
  contains_users = var.responder != "none"
}

# --- The trail: every region, reads and writes, into SLS -------------------------------------------------------------

resource "alicloud_log_project" "this" {
  project_name = var.project_name
  description  = "ActionTrail events, read by trailwarden"

  lifecycle {
    prevent_destroy = true # it holds the audit log
  }
}

resource "alicloud_resource_manager_service_linked_role" "actiontrail" {
  count        = var.create_service_linked_role ? 1 : 0
  service_name = "actiontrail.aliyuncs.com"
}

resource "alicloud_actiontrail_trail" "this" {
  trail_name            = var.trail_name
  event_rw              = "All"
  trail_region          = "All"
  status                = "Enable"
  is_organization_trail = var.is_organization_trail
  sls_project_arn       = "acs:log:${local.region}:${local.account}:project/${alicloud_log_project.this.project_name}"
  sls_write_role_arn    = "acs:ram::${local.account}:role/aliyunserviceroleforactiontrail"

  depends_on = [alicloud_resource_manager_service_linked_role.actiontrail]
}

# ActionTrail makes this logstore together with the trail, so it is imported and then kept as it should be.
resource "alicloud_log_store" "trail" {
  count            = var.manage_logstore ? 1 : 0
  project_name     = alicloud_log_project.this.project_name
  logstore_name    = local.logstore
  retention_period = var.retention_days

  lifecycle {
    prevent_destroy = true
    # Shards and the rest stay as ActionTrail made them.
    ignore_changes = [shard_count, auto_split, max_split_shard_count, append_meta, enable_web_tracking]
  }

  depends_on = [alicloud_actiontrail_trail.this]
}

resource "alicloud_actiontrail_history_delivery_job" "this" {
  count      = var.deliver_history ? 1 : 0
  trail_name = alicloud_actiontrail_trail.this.trail_name
}

# --- Who trailwarden is ----------------------------------------------------------------------------------------------

locals {
  make_provider = var.rrsa != null && try(var.rrsa.oidc_provider_arn, null) == null
  provider_name = "${var.name_prefix}-rrsa"
  provider_arn  = local.make_provider ? "acs:ram::${local.account}:oidc-provider/${local.provider_name}" : try(var.rrsa.oidc_provider_arn, null)

  # On ACK exactly one service account may assume the reader; elsewhere the ECS instances that were given the role.
  trust_rrsa = {
    Effect    = "Allow"
    Action    = "sts:AssumeRole"
    Principal = { Federated = [local.provider_arn] }
    Condition = { StringEquals = {
      "oidc:aud" = "sts.aliyuncs.com"
      "oidc:iss" = try(var.rrsa.issuer_url, "")
      "oidc:sub" = "system:serviceaccount:${try(var.rrsa.namespace, "")}:${try(var.rrsa.service_account, "")}"
    } }
  }
  trust_ecs = {
    Effect    = "Allow"
    Action    = "sts:AssumeRole"
    Principal = { Service = ["ecs.aliyuncs.com"] }
  }
  reader_trust = var.rrsa != null ? jsonencode({ Version = "1", Statement = [local.trust_rrsa] }) : jsonencode({ Version = "1", Statement = [local.trust_ecs] })
}

resource "alicloud_ims_oidc_provider" "rrsa" {
  count              = local.make_provider ? 1 : 0
  oidc_provider_name = local.provider_name
  description        = "RRSA for trailwarden"
  issuer_url         = var.rrsa.issuer_url
  fingerprints       = var.rrsa.fingerprints
  client_ids         = ["sts.aliyuncs.com"]

  lifecycle {
    precondition {
      condition     = length(var.rrsa.fingerprints) > 0
      error_message = "rrsa needs oidc_provider_arn, or fingerprints of the issuer's CA to make the provider."
    }
  }
}

resource "alicloud_ram_role" "reader" {
  role_name                   = local.reader_name
  description                 = "trailwarden reads the trail's logstore"
  assume_role_policy_document = local.reader_trust

  depends_on = [alicloud_ims_oidc_provider.rrsa]
}

resource "alicloud_ram_role" "responder" {
  count       = local.contains_users ? 1 : 0
  role_name   = local.responder_name
  description = "trailwarden contains"
  assume_role_policy_document = jsonencode({ Version = "1", Statement = [{
    Effect    = "Allow"
    Action    = "sts:AssumeRole"
    Principal = { RAM = [alicloud_ram_role.reader.arn] }
  }] })

  lifecycle {
    precondition {
      condition     = length(var.protected_users) > 0
      error_message = "A responder needs protected_users: at least the user that must always be able to get in."
    }
  }
}

# --- What it may do: the policies of deploy/ram, with their words in capitals filled in --------------------------------

locals {
  ram = "${path.module}/../ram"

  reader_policy = replace(replace(replace(file("${local.ram}/reader.json"),
    "ACCOUNT_ID", local.account),
    "PROJECT", var.project_name),
  "LOGSTORE", local.logstore)

  responder_file = var.responder == "contain" ? "responder-contain.json" : "responder-disable-key.json"
  denied_users   = join(", ", [for u in var.protected_users : jsonencode("acs:ram:*:ACCOUNT_ID:user/${u}")])
  responder_policy = replace(replace(file("${local.ram}/${local.responder_file}"),
    "\"acs:ram:*:ACCOUNT_ID:user/BREAK_GLASS_USER\", \"acs:ram:*:ACCOUNT_ID:user/PIPELINE_USER\"", local.denied_users),
  "ACCOUNT_ID", local.account)

  # Written without spaces: the service limits the length.
  policies = merge(
    { reader = { name = local.reader_name, document = jsonencode(jsondecode(local.reader_policy)), description = "trailwarden: read one logstore" } },
    local.contains_users ? {
      responder = { name = local.responder_name, document = jsonencode(jsondecode(local.responder_policy)), description = "trailwarden: ${var.responder}" }
      assume = { name = "${var.name_prefix}-assume-responder", description = "trailwarden: the reader becomes the responder"
        document = jsonencode({ Version = "1", Statement = [{
          Effect = "Allow", Action = "sts:AssumeRole", Resource = "acs:ram::${local.account}:role/${local.responder_name}"
      }] }) }
    } : {},
    var.responder == "contain" ? {
      quarantine = { name = "zz-quarantine-deny-all", document = jsonencode(jsondecode(file("${local.ram}/quarantine-deny-all.json"))), description = "trailwarden attaches it to a user in quarantine" }
    } : {},
  )

  attachments = merge(
    { reader = local.reader_name },
    local.contains_users ? { responder = local.responder_name, assume = local.reader_name } : {},
  )
}

resource "alicloud_ram_policy" "this" {
  for_each        = local.policies
  policy_name     = each.value.name
  policy_document = each.value.document
  description     = each.value.description

  lifecycle {
    precondition {
      condition     = !can(regex("ACCOUNT_ID|/PROJECT/|/LOGSTORE|BREAK_GLASS_USER|PIPELINE_USER", each.value.document))
      error_message = "A word in capitals of deploy/ram was not filled in."
    }
  }
}

resource "alicloud_ram_role_policy_attachment" "this" {
  for_each    = local.attachments
  role_name   = each.value
  policy_name = alicloud_ram_policy.this[each.key].policy_name
  policy_type = "Custom"

  depends_on = [alicloud_ram_role.reader, alicloud_ram_role.responder]
}

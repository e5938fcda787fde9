output "reader_role_name" {
  description = "For ECS: the instance's RAM role. For ACK: rrsa.roleName of the Helm chart."
  value       = alicloud_ram_role.reader.role_name
}

output "responder_role_arn" {
  description = "Empty without a responder."
  value       = local.contains_users ? alicloud_ram_role.responder[0].arn : ""
}

output "config" {
  description = "The fragment of trailwarden.yaml that belongs to all this. Add notify and, when all is seen well, respond.mode."
  value = yamlencode(merge(
    { source = { sls = [{
      endpoint       = "https://${local.region}.log.aliyuncs.com"
      region         = local.region
      project        = var.project_name
      logstore       = local.logstore
      consumer_group = "trailwarden"
      start          = "end"
    }] } },
    local.contains_users ? { respond = {
      mode   = "observe"
      ram    = { enabled = true, region = local.region, assume_role = "acs:ram::{account}:role/${local.responder_name}" }
      guards = { protected = { users = var.protected_users } }
    } } : {},
  ))
}

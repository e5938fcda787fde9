variable "trail_name" {
  description = "Name of the trail. ActionTrail makes the logstore actiontrail_<trail_name> for it."
  type        = string
  default     = "trailwarden"
  validation {
    condition     = can(regex("^[a-z][a-z0-9_-]{5,35}$", var.trail_name))
    error_message = "6 to 36 lower-case letters, digits, - and _, beginning with a letter."
  }
}

variable "project_name" {
  description = "Name of the SLS project; unique in the region for all customers."
  type        = string
}

variable "is_organization_trail" {
  description = "Record every account of the resource directory. Only from its management or delegated account."
  type        = bool
  default     = false
}

variable "create_service_linked_role" {
  description = "Make AliyunServiceRoleForActionTrail. Leave it at false when the account has it: it can exist only once."
  type        = bool
  default     = false
}

variable "manage_logstore" {
  description = "Keep the retention of the logstore that ActionTrail made. Needs the import described in README.md, after the first apply."
  type        = bool
  default     = false
}

variable "retention_days" {
  description = "Days that the logstore keeps events, when manage_logstore is set."
  type        = number
  default     = 180
  validation {
    condition     = var.retention_days >= 90 && var.retention_days <= 3650
    error_message = "At least 90 days: what is found today often began weeks ago. 3650 keeps events for ever."
  }
}

variable "deliver_history" {
  description = "Deliver the last 90 days into the logstore once. Only for accounts that Alibaba Cloud has put on the whitelist of that feature; others get an error."
  type        = bool
  default     = false
}

variable "name_prefix" {
  description = "Beginning of the names of roles and policies."
  type        = string
  default     = "trailwarden"
}

variable "responder" {
  description = "What may be contained: none, disable-key (deploy/ram/responder-disable-key.json) or contain (deploy/ram/responder-contain.json)."
  type        = string
  default     = "none"
  validation {
    condition     = contains(["none", "disable-key", "contain"], var.responder)
    error_message = "none, disable-key or contain."
  }
}

variable "protected_users" {
  description = "RAM users that the responder is denied to touch: break-glass users and those that the log pipeline works as."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for u in var.protected_users : can(regex("^[A-Za-z0-9._@*-]{1,64}$", u))])
    error_message = "Names of RAM users, without the account's domain."
  }
}

variable "rrsa" {
  description = "Run on ACK with RRSA. Give oidc_provider_arn when the cluster has made its provider (enabling RRSA in the console does); else fingerprints, and the provider is made here."
  type = object({
    issuer_url        = string
    oidc_provider_arn = optional(string)
    fingerprints      = optional(list(string), [])
    namespace         = optional(string, "trailwarden")
    service_account   = optional(string, "trailwarden")
  })
  default = null
}

// Package cred gets Alibaba Cloud credentials by the vendor's official chain
// (environment, OIDC/RRSA, CLI profile, credentials file, ECS role, URI) or
// from static values, and keeps them fresh. It adds what the chain lacks:
// safety for concurrent use, a context, patience when a refresh fails, and
// errors that hold no secrets.
package cred

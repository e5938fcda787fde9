package event

// The canonical actions, in the order of actions.txt. A test holds the two
// together.
const (
	ActSignInConsole                      Action = "signin.console"
	ActSignOutConsole                     Action = "signout.console"
	ActSignInSSO                          Action = "signin.sso"
	ActSignInSSOAccount                   Action = "signin.sso_account"
	ActSTSAssumeRole                      Action = "sts.assume_role"
	ActSTSAssumeRoleSAML                  Action = "sts.assume_role_saml"
	ActSTSAssumeRoleOIDC                  Action = "sts.assume_role_oidc"
	ActSTSCallerIdentity                  Action = "sts.caller_identity"
	ActIAMAccessKeyCreate                 Action = "iam.accesskey.create"
	ActIAMAccessKeyUpdate                 Action = "iam.accesskey.update"
	ActIAMAccessKeyDelete                 Action = "iam.accesskey.delete"
	ActIAMAccessKeyRestore                Action = "iam.accesskey.restore"
	ActIAMAccessKeyPurge                  Action = "iam.accesskey.purge"
	ActIAMAccessKeyPolicySet              Action = "iam.accesskey_policy.set"
	ActIAMUserCreate                      Action = "iam.user.create"
	ActIAMUserUpdate                      Action = "iam.user.update"
	ActIAMUserDelete                      Action = "iam.user.delete"
	ActIAMUserRestore                     Action = "iam.user.restore"
	ActIAMLoginProfileCreate              Action = "iam.login_profile.create"
	ActIAMLoginProfileUpdate              Action = "iam.login_profile.update"
	ActIAMLoginProfileDelete              Action = "iam.login_profile.delete"
	ActIAMPasswordChange                  Action = "iam.password.change"
	ActIAMPasswordReset                   Action = "iam.password.reset"
	ActIAMMFABind                         Action = "iam.mfa.bind"
	ActIAMMFAUnbind                       Action = "iam.mfa.unbind"
	ActIAMMFAVirtualCreate                Action = "iam.mfa.virtual_create"
	ActIAMMFAVirtualDelete                Action = "iam.mfa.virtual_delete"
	ActIAMMFAVirtualDisable               Action = "iam.mfa.virtual_disable"
	ActIAMPasskeyDelete                   Action = "iam.passkey.delete"
	ActIAMVerificationUnbind              Action = "iam.verification.unbind"
	ActIAMVerificationSet                 Action = "iam.verification.set"
	ActIAMRootContactChange               Action = "iam.root_contact.change"
	ActIAMSecurityPreferenceSet           Action = "iam.security_preference.set"
	ActIAMPasswordPolicySet               Action = "iam.password_policy.set"
	ActIAMPolicyCreate                    Action = "iam.policy.create"
	ActIAMPolicyDelete                    Action = "iam.policy.delete"
	ActIAMPolicyAttach                    Action = "iam.policy.attach"
	ActIAMPolicyDetach                    Action = "iam.policy.detach"
	ActIAMPolicyVersionCreate             Action = "iam.policy_version.create"
	ActIAMPolicyVersionDelete             Action = "iam.policy_version.delete"
	ActIAMPolicyVersionSetDefault         Action = "iam.policy_version.set_default"
	ActIAMRoleCreate                      Action = "iam.role.create"
	ActIAMRoleUpdate                      Action = "iam.role.update"
	ActIAMRoleDelete                      Action = "iam.role.delete"
	ActIAMGroupCreate                     Action = "iam.group.create"
	ActIAMGroupUpdate                     Action = "iam.group.update"
	ActIAMGroupDelete                     Action = "iam.group.delete"
	ActIAMGroupAddUser                    Action = "iam.group.add_user"
	ActIAMGroupRemoveUser                 Action = "iam.group.remove_user"
	ActIAMSAMLProviderCreate              Action = "iam.saml_provider.create"
	ActIAMSAMLProviderUpdate              Action = "iam.saml_provider.update"
	ActIAMSAMLProviderDelete              Action = "iam.saml_provider.delete"
	ActIAMOIDCProviderCreate              Action = "iam.oidc_provider.create"
	ActIAMOIDCProviderUpdate              Action = "iam.oidc_provider.update"
	ActIAMOIDCProviderDelete              Action = "iam.oidc_provider.delete"
	ActIAMUserSSOSet                      Action = "iam.user_sso.set"
	ActIAMAppCreate                       Action = "iam.app.create"
	ActIAMAppProvision                    Action = "iam.app.provision"
	ActIAMAppSecretCreate                 Action = "iam.app_secret.create"
	ActSSOMFAWeaken                       Action = "sso.mfa.weaken"
	ActSSOMFADeviceDelete                 Action = "sso.mfa.device_delete"
	ActSSOAssignmentCreate                Action = "sso.assignment.create"
	ActSSOAssignmentDelete                Action = "sso.assignment.delete"
	ActSSOAccessConfigurationCreate       Action = "sso.access_configuration.create"
	ActSSOAccessConfigurationAddPolicy    Action = "sso.access_configuration.add_policy"
	ActSSOAccessConfigurationRemovePolicy Action = "sso.access_configuration.remove_policy"
	ActSSOAccessConfigurationUpdateInline Action = "sso.access_configuration.update_inline"
	ActSSOAccessConfigurationProvision    Action = "sso.access_configuration.provision"
	ActSSOPasswordReset                   Action = "sso.password.reset"
	ActSSOUserCreate                      Action = "sso.user.create"
	ActSSOUserUpdate                      Action = "sso.user.update"
	ActSSOUserDelete                      Action = "sso.user.delete"
	ActSSOGroupAddUser                    Action = "sso.group.add_user"
	ActSSOGroupRemoveUser                 Action = "sso.group.remove_user"
	ActSSOIdPSet                          Action = "sso.idp.set"
	ActSSOSCIMSecretCreate                Action = "sso.scim_secret.create"
	ActSSOSCIMSecretUpdate                Action = "sso.scim_secret.update"
	ActSSOCloudCredentialCreate           Action = "sso.cloud_credential.create"
	ActSSOLoginPreferenceSet              Action = "sso.login_preference.set"
	ActOrgControlPolicyCreate             Action = "org.control_policy.create"
	ActOrgControlPolicyAttach             Action = "org.control_policy.attach"
	ActOrgControlPolicyDetach             Action = "org.control_policy.detach"
	ActOrgControlPolicyEnable             Action = "org.control_policy.enable"
	ActOrgControlPolicyDisable            Action = "org.control_policy.disable"
	ActOrgControlPolicyUpdate             Action = "org.control_policy.update"
	ActOrgControlPolicyDelete             Action = "org.control_policy.delete"
	ActOrgFolderCreate                    Action = "org.folder.create"
	ActOrgAccountCreate                   Action = "org.account.create"
	ActOrgAccountInvite                   Action = "org.account.invite"
	ActOrgAccountMove                     Action = "org.account.move"
	ActOrgAccountRemove                   Action = "org.account.remove"
	ActOrgAccountDelete                   Action = "org.account.delete"
	ActOrgDirectoryDestroy                Action = "org.directory.destroy"
	ActOrgDelegatedAdminRegister          Action = "org.delegated_admin.register"
	ActOrgDelegatedAdminDeregister        Action = "org.delegated_admin.deregister"
	ActTrailCreate                        Action = "trail.create"
	ActTrailUpdate                        Action = "trail.update"
	ActTrailDelete                        Action = "trail.delete"
	ActTrailStart                         Action = "trail.start"
	ActTrailStop                          Action = "trail.stop"
	ActTrailGlobalRegionUpdate            Action = "trail.global_region.update"
	ActTrailInsightDisable                Action = "trail.insight.disable"
	ActTrailInsightSet                    Action = "trail.insight.set"
	ActTrailDataSelectorSet               Action = "trail.data_selector.set"
	ActTrailDataSelectorDelete            Action = "trail.data_selector.delete"
	ActSLSProjectDelete                   Action = "sls.project.delete"
	ActSLSProjectPolicySet                Action = "sls.project_policy.set"
	ActSLSLogstoreDelete                  Action = "sls.logstore.delete"
	ActSLSLogstoreUpdate                  Action = "sls.logstore.update"
	ActSLSIndexDelete                     Action = "sls.index.delete"
	ActSLSIndexUpdate                     Action = "sls.index.update"
	ActSLSAlertDelete                     Action = "sls.alert.delete"
	ActSLSAlertDisable                    Action = "sls.alert.disable"
	ActSLSExportCreate                    Action = "sls.export.create"
	ActSLSConsumerGroupDelete             Action = "sls.consumer_group.delete"
	ActSLSConsumerGroupUpdate             Action = "sls.consumer_group.update"
	ActSLSConsumerGroupCheckpoint         Action = "sls.consumer_group.checkpoint"
	ActKMSKeyDisable                      Action = "kms.key.disable"
	ActKMSKeyScheduleDeletion             Action = "kms.key.schedule_deletion"
	ActKMSKeyDeletionProtection           Action = "kms.key.deletion_protection"
	ActKMSKeyMaterialDelete               Action = "kms.key_material.delete"
	ActKMSKeyPolicySet                    Action = "kms.key_policy.set"
	ActKMSSecretPolicySet                 Action = "kms.secret_policy.set"
	ActKMSSecretRead                      Action = "kms.secret.read"
	ActKMSSecretDelete                    Action = "kms.secret.delete"
	ActOSSBucketCreate                    Action = "oss.bucket.create"
	ActOSSBucketACL                       Action = "oss.bucket.acl"
	ActOSSBucketPolicy                    Action = "oss.bucket.policy"
	ActOSSBucketPolicyDelete              Action = "oss.bucket.policy_delete"
	ActOSSBucketAccessPointPolicy         Action = "oss.bucket.access_point_policy"
	ActOSSBucketDelete                    Action = "oss.bucket.delete"
	ActOSSBucketLifecycle                 Action = "oss.bucket.lifecycle"
	ActOSSBucketReplication               Action = "oss.bucket.replication"
	ActOSSBucketEncryptionDelete          Action = "oss.bucket.encryption_delete"
	ActOSSBucketPublicAccessBlock         Action = "oss.bucket.public_access_block"
	ActOSSBucketPublicAccessBlockDelete   Action = "oss.bucket.public_access_block_delete"
	ActOSSObjectACL                       Action = "oss.object.acl"
	ActOSSObjectGet                       Action = "oss.object.get"
	ActOSSObjectDelete                    Action = "oss.object.delete"
	ActECSSecurityGroupAuthorize          Action = "ecs.security_group.authorize"
	ActECSSecurityGroupAuthorizeEgress    Action = "ecs.security_group.authorize_egress"
	ActECSSecurityGroupRevoke             Action = "ecs.security_group.revoke"
	ActECSSecurityGroupRevokeEgress       Action = "ecs.security_group.revoke_egress"
	ActECSSecurityGroupCreate             Action = "ecs.security_group.create"
	ActECSSecurityGroupDelete             Action = "ecs.security_group.delete"
	ActECSCommandRun                      Action = "ecs.command.run"
	ActECSCommandCreate                   Action = "ecs.command.create"
	ActECSCommandDelete                   Action = "ecs.command.delete"
	ActECSFileSend                        Action = "ecs.file.send"
	ActECSTerminalStart                   Action = "ecs.terminal.start"
	ActECSVNCURL                          Action = "ecs.vnc.url"
	ActECSVNCPassword                     Action = "ecs.vnc.password"
	ActECSKeyPairAttach                   Action = "ecs.keypair.attach"
	ActECSKeyPairImport                   Action = "ecs.keypair.import"
	ActECSImageShare                      Action = "ecs.image.share"
	ActECSImageExport                     Action = "ecs.image.export"
	ActECSImageCopy                       Action = "ecs.image.copy"
	ActECSSnapshotExport                  Action = "ecs.snapshot.export"
	ActECSSnapshotCopy                    Action = "ecs.snapshot.copy"
	ActECSSnapshotDelete                  Action = "ecs.snapshot.delete"
	ActECSSnapshotPolicyCancel            Action = "ecs.snapshot_policy.cancel"
	ActECSInstanceCreate                  Action = "ecs.instance.create"
	ActECSInstanceUpdate                  Action = "ecs.instance.update"
	ActECSInstanceMetadata                Action = "ecs.instance.metadata"
	ActECSInstanceDelete                  Action = "ecs.instance.delete"
	ActECSInstanceReboot                  Action = "ecs.instance.reboot"
	ActECSInstanceAttachRole              Action = "ecs.instance.attach_role"
	ActECSLaunchTemplateCreate            Action = "ecs.launch_template.create"
	ActECSDiskCreate                      Action = "ecs.disk.create"
	ActECSDiskDelete                      Action = "ecs.disk.delete"
	ActECSDiskReInit                      Action = "ecs.disk.reinit"
	ActVPCDelete                          Action = "vpc.delete"
	ActVPCFlowLogOff                      Action = "vpc.flowlog.off"
	ActVPCFlowLogUpdate                   Action = "vpc.flowlog.update"
	ActVPCMirrorFilterCreate              Action = "vpc.mirror_filter.create"
	ActVPCRouteCreate                     Action = "vpc.route.create"
	ActVPCEndpointServiceAddUser          Action = "vpc.endpoint_service.add_user"
	ActVPCPeerCreate                      Action = "vpc.peer.create"
	ActCENGrant                           Action = "cen.grant"
	ActCENAttach                          Action = "cen.attach"
	ActSLBDeletionProtectionUpdate        Action = "slb.deletion_protection.update"
	ActSLBHTTPListenerCreate              Action = "slb.http_listener.create"
	ActRDSWhitelistUpdate                 Action = "rds.whitelist.update"
	ActRDSPublicEndpointCreate            Action = "rds.public_endpoint.create"
	ActRDSAuditUpdate                     Action = "rds.audit.update"
	ActRDSSSLUpdate                       Action = "rds.ssl.update"
	ActRDSTDEUpdate                       Action = "rds.tde.update"
	ActRDSDeletionProtectionUpdate        Action = "rds.deletion_protection.update"
	ActRDSBackupDelete                    Action = "rds.backup.delete"
	ActRDSBackupPolicyUpdate              Action = "rds.backup_policy.update"
	ActRDSCrossBackupUpdate               Action = "rds.cross_backup.update"
	ActRDSDatabaseCopy                    Action = "rds.database.copy"
	ActRDSDDRInstanceCreate               Action = "rds.ddr_instance.create"
	ActRDSInstanceDelete                  Action = "rds.instance.delete"
	ActDMSExportCreate                    Action = "dms.export.create"
	ActSASAgentRemove                     Action = "sas.agent.remove"
	ActSASAgentPause                      Action = "sas.agent.pause"
	ActSASWebLockUpdate                   Action = "sas.weblock.update"
	ActSASWebLockUnbind                   Action = "sas.weblock.unbind"
	ActSASStrategyDelete                  Action = "sas.strategy.delete"
	ActSASFindingHandle                   Action = "sas.finding.handle"
	ActSASLeakHandle                      Action = "sas.leak.handle"
	ActSASLeakFinding                     Action = "sas.leak.finding"
	ActCloudFWSwitchOff                   Action = "cloudfw.switch.off"
	ActCloudFWVPCSwitchUpdate             Action = "cloudfw.vpc_switch.update"
	ActCloudFWIPSUpdate                   Action = "cloudfw.ips.update"
	ActCloudFWIPSWhitelistUpdate          Action = "cloudfw.ips_whitelist.update"
	ActCloudFWPolicyUpdate                Action = "cloudfw.policy.update"
	ActCloudFWPolicyDelete                Action = "cloudfw.policy.delete"
	ActCloudFWLogUpdate                   Action = "cloudfw.log.update"
	ActCloudFWAutoProtectUpdate           Action = "cloudfw.auto_protect.update"
	ActWAFRuleUpdate                      Action = "waf.rule.update"
	ActWAFRuleDelete                      Action = "waf.rule.delete"
	ActWAFDomainDelete                    Action = "waf.domain.delete"
	ActWAFLogUpdate                       Action = "waf.log.update"
	ActConfigRulesStop                    Action = "config.rules.stop"
	ActConfigRulesDelete                  Action = "config.rules.delete"
	ActConfigRecorderSet                  Action = "config.recorder.set"
	ActCMSRulesDelete                     Action = "cms.rules.delete"
	ActCMSRulesDisable                    Action = "cms.rules.disable"
	ActCMSEventRulesDelete                Action = "cms.event_rules.delete"
	ActCMSEventRulesDisable               Action = "cms.event_rules.disable"
	ActEventBridgeRuleDelete              Action = "eventbridge.rule.delete"
	ActEventBridgeRuleDisable             Action = "eventbridge.rule.disable"
	ActCSControlPlaneLogUpdate            Action = "cs.control_plane_log.update"
	ActCSAuditLogUpdate                   Action = "cs.audit_log.update"
	ActCSPermissionsGrant                 Action = "cs.permissions.grant"
	ActFCFunctionCreate                   Action = "fc.function.create"
	ActFCFunctionUpdate                   Action = "fc.function.update"
	ActFCLayerACL                         Action = "fc.layer.acl"
	ActECIContainerGroupCreate            Action = "eci.container_group.create"
	ActECIContainerExec                   Action = "eci.container.exec"
	ActOOSExecutionStart                  Action = "oos.execution.start"
	ActOOSTemplateCreate                  Action = "oos.template.create"
	ActROSStackCreate                     Action = "ros.stack.create"
	ActFNFFlowCreate                      Action = "fnf.flow.create"
	ActESSConfigurationCreate             Action = "ess.configuration.create"
	ActHBRVaultDelete                     Action = "hbr.vault.delete"
	ActHBRPlanDelete                      Action = "hbr.plan.delete"
	ActHBRPlanDisable                     Action = "hbr.plan.disable"
	ActNASFileSystemDelete                Action = "nas.filesystem.delete"
	ActQuotasApplicationCreate            Action = "quotas.application.create"
	ActDLCJobCreate                       Action = "dlc.job.create"
	ActShareResourceCreate                Action = "share.resource.create"
	ActShareResourceAssociate             Action = "share.resource.associate"
	ActShareResourceUpdate                Action = "share.resource.update"
	ActDNSRecordUpdate                    Action = "dns.record.update"
	ActDNSDomainDelete                    Action = "dns.domain.delete"
)

var allActions = []Action{
	ActSignInConsole,
	ActSignOutConsole,
	ActSignInSSO,
	ActSignInSSOAccount,
	ActSTSAssumeRole,
	ActSTSAssumeRoleSAML,
	ActSTSAssumeRoleOIDC,
	ActSTSCallerIdentity,
	ActIAMAccessKeyCreate,
	ActIAMAccessKeyUpdate,
	ActIAMAccessKeyDelete,
	ActIAMAccessKeyRestore,
	ActIAMAccessKeyPurge,
	ActIAMAccessKeyPolicySet,
	ActIAMUserCreate,
	ActIAMUserUpdate,
	ActIAMUserDelete,
	ActIAMUserRestore,
	ActIAMLoginProfileCreate,
	ActIAMLoginProfileUpdate,
	ActIAMLoginProfileDelete,
	ActIAMPasswordChange,
	ActIAMPasswordReset,
	ActIAMMFABind,
	ActIAMMFAUnbind,
	ActIAMMFAVirtualCreate,
	ActIAMMFAVirtualDelete,
	ActIAMMFAVirtualDisable,
	ActIAMPasskeyDelete,
	ActIAMVerificationUnbind,
	ActIAMVerificationSet,
	ActIAMRootContactChange,
	ActIAMSecurityPreferenceSet,
	ActIAMPasswordPolicySet,
	ActIAMPolicyCreate,
	ActIAMPolicyDelete,
	ActIAMPolicyAttach,
	ActIAMPolicyDetach,
	ActIAMPolicyVersionCreate,
	ActIAMPolicyVersionDelete,
	ActIAMPolicyVersionSetDefault,
	ActIAMRoleCreate,
	ActIAMRoleUpdate,
	ActIAMRoleDelete,
	ActIAMGroupCreate,
	ActIAMGroupUpdate,
	ActIAMGroupDelete,
	ActIAMGroupAddUser,
	ActIAMGroupRemoveUser,
	ActIAMSAMLProviderCreate,
	ActIAMSAMLProviderUpdate,
	ActIAMSAMLProviderDelete,
	ActIAMOIDCProviderCreate,
	ActIAMOIDCProviderUpdate,
	ActIAMOIDCProviderDelete,
	ActIAMUserSSOSet,
	ActIAMAppCreate,
	ActIAMAppProvision,
	ActIAMAppSecretCreate,
	ActSSOMFAWeaken,
	ActSSOMFADeviceDelete,
	ActSSOAssignmentCreate,
	ActSSOAssignmentDelete,
	ActSSOAccessConfigurationCreate,
	ActSSOAccessConfigurationAddPolicy,
	ActSSOAccessConfigurationRemovePolicy,
	ActSSOAccessConfigurationUpdateInline,
	ActSSOAccessConfigurationProvision,
	ActSSOPasswordReset,
	ActSSOUserCreate,
	ActSSOUserUpdate,
	ActSSOUserDelete,
	ActSSOGroupAddUser,
	ActSSOGroupRemoveUser,
	ActSSOIdPSet,
	ActSSOSCIMSecretCreate,
	ActSSOSCIMSecretUpdate,
	ActSSOCloudCredentialCreate,
	ActSSOLoginPreferenceSet,
	ActOrgControlPolicyCreate,
	ActOrgControlPolicyAttach,
	ActOrgControlPolicyDetach,
	ActOrgControlPolicyEnable,
	ActOrgControlPolicyDisable,
	ActOrgControlPolicyUpdate,
	ActOrgControlPolicyDelete,
	ActOrgFolderCreate,
	ActOrgAccountCreate,
	ActOrgAccountInvite,
	ActOrgAccountMove,
	ActOrgAccountRemove,
	ActOrgAccountDelete,
	ActOrgDirectoryDestroy,
	ActOrgDelegatedAdminRegister,
	ActOrgDelegatedAdminDeregister,
	ActTrailCreate,
	ActTrailUpdate,
	ActTrailDelete,
	ActTrailStart,
	ActTrailStop,
	ActTrailGlobalRegionUpdate,
	ActTrailInsightDisable,
	ActTrailInsightSet,
	ActTrailDataSelectorSet,
	ActTrailDataSelectorDelete,
	ActSLSProjectDelete,
	ActSLSProjectPolicySet,
	ActSLSLogstoreDelete,
	ActSLSLogstoreUpdate,
	ActSLSIndexDelete,
	ActSLSIndexUpdate,
	ActSLSAlertDelete,
	ActSLSAlertDisable,
	ActSLSExportCreate,
	ActSLSConsumerGroupDelete,
	ActSLSConsumerGroupUpdate,
	ActSLSConsumerGroupCheckpoint,
	ActKMSKeyDisable,
	ActKMSKeyScheduleDeletion,
	ActKMSKeyDeletionProtection,
	ActKMSKeyMaterialDelete,
	ActKMSKeyPolicySet,
	ActKMSSecretPolicySet,
	ActKMSSecretRead,
	ActKMSSecretDelete,
	ActOSSBucketCreate,
	ActOSSBucketACL,
	ActOSSBucketPolicy,
	ActOSSBucketPolicyDelete,
	ActOSSBucketAccessPointPolicy,
	ActOSSBucketDelete,
	ActOSSBucketLifecycle,
	ActOSSBucketReplication,
	ActOSSBucketEncryptionDelete,
	ActOSSBucketPublicAccessBlock,
	ActOSSBucketPublicAccessBlockDelete,
	ActOSSObjectACL,
	ActOSSObjectGet,
	ActOSSObjectDelete,
	ActECSSecurityGroupAuthorize,
	ActECSSecurityGroupAuthorizeEgress,
	ActECSSecurityGroupRevoke,
	ActECSSecurityGroupRevokeEgress,
	ActECSSecurityGroupCreate,
	ActECSSecurityGroupDelete,
	ActECSCommandRun,
	ActECSCommandCreate,
	ActECSCommandDelete,
	ActECSFileSend,
	ActECSTerminalStart,
	ActECSVNCURL,
	ActECSVNCPassword,
	ActECSKeyPairAttach,
	ActECSKeyPairImport,
	ActECSImageShare,
	ActECSImageExport,
	ActECSImageCopy,
	ActECSSnapshotExport,
	ActECSSnapshotCopy,
	ActECSSnapshotDelete,
	ActECSSnapshotPolicyCancel,
	ActECSInstanceCreate,
	ActECSInstanceUpdate,
	ActECSInstanceMetadata,
	ActECSInstanceDelete,
	ActECSInstanceReboot,
	ActECSInstanceAttachRole,
	ActECSLaunchTemplateCreate,
	ActECSDiskCreate,
	ActECSDiskDelete,
	ActECSDiskReInit,
	ActVPCDelete,
	ActVPCFlowLogOff,
	ActVPCFlowLogUpdate,
	ActVPCMirrorFilterCreate,
	ActVPCRouteCreate,
	ActVPCEndpointServiceAddUser,
	ActVPCPeerCreate,
	ActCENGrant,
	ActCENAttach,
	ActSLBDeletionProtectionUpdate,
	ActSLBHTTPListenerCreate,
	ActRDSWhitelistUpdate,
	ActRDSPublicEndpointCreate,
	ActRDSAuditUpdate,
	ActRDSSSLUpdate,
	ActRDSTDEUpdate,
	ActRDSDeletionProtectionUpdate,
	ActRDSBackupDelete,
	ActRDSBackupPolicyUpdate,
	ActRDSCrossBackupUpdate,
	ActRDSDatabaseCopy,
	ActRDSDDRInstanceCreate,
	ActRDSInstanceDelete,
	ActDMSExportCreate,
	ActSASAgentRemove,
	ActSASAgentPause,
	ActSASWebLockUpdate,
	ActSASWebLockUnbind,
	ActSASStrategyDelete,
	ActSASFindingHandle,
	ActSASLeakHandle,
	ActSASLeakFinding,
	ActCloudFWSwitchOff,
	ActCloudFWVPCSwitchUpdate,
	ActCloudFWIPSUpdate,
	ActCloudFWIPSWhitelistUpdate,
	ActCloudFWPolicyUpdate,
	ActCloudFWPolicyDelete,
	ActCloudFWLogUpdate,
	ActCloudFWAutoProtectUpdate,
	ActWAFRuleUpdate,
	ActWAFRuleDelete,
	ActWAFDomainDelete,
	ActWAFLogUpdate,
	ActConfigRulesStop,
	ActConfigRulesDelete,
	ActConfigRecorderSet,
	ActCMSRulesDelete,
	ActCMSRulesDisable,
	ActCMSEventRulesDelete,
	ActCMSEventRulesDisable,
	ActEventBridgeRuleDelete,
	ActEventBridgeRuleDisable,
	ActCSControlPlaneLogUpdate,
	ActCSAuditLogUpdate,
	ActCSPermissionsGrant,
	ActFCFunctionCreate,
	ActFCFunctionUpdate,
	ActFCLayerACL,
	ActECIContainerGroupCreate,
	ActECIContainerExec,
	ActOOSExecutionStart,
	ActOOSTemplateCreate,
	ActROSStackCreate,
	ActFNFFlowCreate,
	ActESSConfigurationCreate,
	ActHBRVaultDelete,
	ActHBRPlanDelete,
	ActHBRPlanDisable,
	ActNASFileSystemDelete,
	ActQuotasApplicationCreate,
	ActDLCJobCreate,
	ActShareResourceCreate,
	ActShareResourceAssociate,
	ActShareResourceUpdate,
	ActDNSRecordUpdate,
	ActDNSDomainDelete,
}

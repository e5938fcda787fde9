package rules

import "strings"

// params is the catalogue of request parameters that rules look at. A name
// that is not here gives a lint warning only: there are thousands.
var params = strings.Fields(`
AcceptLanguage CenOwnerId NewStatus AccessConfigurationId AccessKeyId AccessKeyPolicy AccountId ActionName AddAccount AddGroup AiRules AllowUserToChangePassword
AllowUserToManageAccessKeys AllowUserToManageMFADevices AllowUserToManagePublicKeys AllowUserToLoginWithPasskey AppId AppName
AssumeRolePolicyDocument AutoProtect AuxiliaryDomain BackupPolicyMode BasicRules Bucket BucketName ClientIds Comments
CommandContent CommandId ControlPolicyName CtiRules DBInstanceId DBInstanceNetType DBClusterId DeletionProtection Description
DestRegionId DestinationRegionId DirectoryId DiskId DisplayName DomainName Domain DurationSeconds EffectType Email
EnableMFAForLogin EnableSaveMFATicket EnableStatus Encrypted EnforceMFAForLogin EventRW EventSelectors ExternalId Fingerprints
FlowLogId FunctionName GpuSpec GroupId GroupName GroupPrincipalName HardExpire HardExpiry HttpEndpoint HttpTokens ImageId
InlinePolicyDocument InsightType InstanceId InstanceIds InstanceType IpProtocol IsPublic IsTrailAllRegion IssuerUrl KeyId KeyPairName
KmsKeyId LoginMethod LoginNetworkMasks LoginSessionDuration Logstore MFAAuthenticated MFAAuthenticationSettings
MFAAuthenticationStatus MFABindRequired MFAOperationForLogin MaxIdleDaysForAccessKeys MaxIdleDaysForUsers MaxLoginAttemps
MaxLoginAttempts MaxPasswordAge MaxSessionDuration MetadataDocument MinimumPasswordLength MobilePhone Name NewAssumeRolePolicyDocument
NewDescription NewDisplayName NewEncodedSAMLMetadataDocument NewGroupName NewInlinePolicyDocument NewMaxSessionDuration
NewPolicyDocument NewRoleName NewUserName NewUserPrincipalName OIDCProviderArn OIDCProviderName OssBucketName OssKeyPrefix
OssWriteRoleArn Password PasswordResetRequired PasswordReusePrevention PasskeyId PatchRules PendingWindowInDays
PermissionPolicyName PermissionPolicyType Permissions Policy PolicyDocument PolicyId PolicyName PolicyType PortRange PrincipalId
PrincipalName PrincipalType Project ProjectName Quantity Amount MinAmount RR RamRoleName RegionId RemoveAccount ReplicationRegionId
RequireLowercaseCharacters RequireNumbers RequireSymbols RequireUppercaseCharacters ResourceDirectoryId ResourceGroupId
ResourceId ResourceOwner ResourceShareId ResourceType RoleArn RoleName RoleSessionName RotateStrategy RuleClass RunMode SAMLProviderArn
SAMLProviderName SAMLMetadataDocument EncodedSAMLMetadataDocument SQLCollectorStatus SSLEnabled SSOStatus SecretName SecretValue SecurityGroupId SecurityIps
SecurityIPList SerialNumber ServicePrincipal SetAsDefault SlsProjectArn SlsWriteRoleArn SnapshotId SourceCidrIp SourceIdentity
Ipv6SourceCidrIp SsoEnabled Status StorageRegion SwitchStatus SyncStatus TargetId TargetType Targets TrailName TrailRegion TrailRegionIds Type
UserAccessKeyId UserClientIp UserData UserId UserMFAAuthenticationSettings UserName UserPrincipalName Username Uuid Uuids
VerificationTypes VerifyType VersionId Value VpcId acl logstore project stsTokenPlayerUid stsTokenPrincipalName ttl
AcceptingAliUid AclAction AllowExternalTargets BackupEnabled ChildInstanceOwnerId ConfigRuleIds Destination DestinationCidrBlock DryRun
EnableDeletionProtection Id InsightSelectors ModifyMode NextHopType OSSBucket Operation OperationCode ResourceShareName RuleId RuleName
Source disable logstoreName uid AccesskeyId AliUserName Url
`)

var paramSet = func() map[string]bool {
	m := make(map[string]bool, len(params))
	for _, p := range params {
		m[strings.ToLower(p)] = true
	}
	return m
}()

func knownParam(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	return paramSet[strings.ToLower(base)]
}

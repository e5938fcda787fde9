package ram

import (
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/responses"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/actiontrail"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/ims"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/ram"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/resourcemanager"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/sts"
)

// The SDK's requests and answers, but not its product clients: the linker keeps
// every method of a type that reflection can reach, so each of them brings
// hundreds of calls, their types and their parsers that nobody makes. These
// clients have the calls that are made, and only those.
type (
	ramClient   struct{ sdk.Client }
	imsClient   struct{ sdk.Client }
	stsClient   struct{ sdk.Client }
	trailClient struct{ sdk.Client }
	dirClient   struct{ sdk.Client }
	sasClient   struct{ sdk.Client }
)

// params are a call's parameters by the names of the API. An empty value is not sent.
type params map[string]string

// send makes one call. The answer is not nil, also with an error. The typed
// request is for those who call and stays on their side: behind the SDK's
// interface each of them would keep a hundred promoted methods in the program.
func send[R responses.AcsResponse](c *sdk.Client, q *requests.RpcRequest, p params, answer R) (R, error) {
	for name, value := range p {
		if value != "" {
			q.QueryParams[name] = value
		}
	}
	return answer, c.DoAction(q, answer)
}

func (c *ramClient) addUserToGroup(q *ram.AddUserToGroupRequest) (*ram.AddUserToGroupResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"GroupName": q.GroupName, "UserName": q.UserName}, ram.CreateAddUserToGroupResponse())
}

func (c *ramClient) attachPolicyToGroup(q *ram.AttachPolicyToGroupRequest) (*ram.AttachPolicyToGroupResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"PolicyType": q.PolicyType, "GroupName": q.GroupName, "PolicyName": q.PolicyName}, ram.CreateAttachPolicyToGroupResponse())
}

func (c *ramClient) attachPolicyToRole(q *ram.AttachPolicyToRoleRequest) (*ram.AttachPolicyToRoleResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"PolicyType": q.PolicyType, "RoleName": q.RoleName, "PolicyName": q.PolicyName}, ram.CreateAttachPolicyToRoleResponse())
}

func (c *ramClient) attachPolicyToUser(q *ram.AttachPolicyToUserRequest) (*ram.AttachPolicyToUserResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"PolicyType": q.PolicyType, "PolicyName": q.PolicyName, "UserName": q.UserName}, ram.CreateAttachPolicyToUserResponse())
}

func (c *ramClient) createPolicy(q *ram.CreatePolicyRequest) (*ram.CreatePolicyResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"Description": q.Description, "PolicyName": q.PolicyName, "PolicyDocument": q.PolicyDocument}, ram.CreateCreatePolicyResponse())
}

func (c *ramClient) deletePolicy(q *ram.DeletePolicyRequest) (*ram.DeletePolicyResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"PolicyName": q.PolicyName}, ram.CreateDeletePolicyResponse())
}

func (c *ramClient) detachPolicyFromGroup(q *ram.DetachPolicyFromGroupRequest) (*ram.DetachPolicyFromGroupResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"PolicyType": q.PolicyType, "GroupName": q.GroupName, "PolicyName": q.PolicyName}, ram.CreateDetachPolicyFromGroupResponse())
}

func (c *ramClient) detachPolicyFromRole(q *ram.DetachPolicyFromRoleRequest) (*ram.DetachPolicyFromRoleResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"PolicyType": q.PolicyType, "RoleName": q.RoleName, "PolicyName": q.PolicyName}, ram.CreateDetachPolicyFromRoleResponse())
}

func (c *ramClient) detachPolicyFromUser(q *ram.DetachPolicyFromUserRequest) (*ram.DetachPolicyFromUserResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"PolicyType": q.PolicyType, "PolicyName": q.PolicyName, "UserName": q.UserName}, ram.CreateDetachPolicyFromUserResponse())
}

func (c *ramClient) getGroup(q *ram.GetGroupRequest) (*ram.GetGroupResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"GroupName": q.GroupName}, ram.CreateGetGroupResponse())
}

func (c *ramClient) getPolicy(q *ram.GetPolicyRequest) (*ram.GetPolicyResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"PolicyType": q.PolicyType, "PolicyName": q.PolicyName}, ram.CreateGetPolicyResponse())
}

func (c *ramClient) getPolicyVersion(q *ram.GetPolicyVersionRequest) (*ram.GetPolicyVersionResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"PolicyType": q.PolicyType, "VersionId": q.VersionId, "PolicyName": q.PolicyName}, ram.CreateGetPolicyVersionResponse())
}

func (c *ramClient) getRole(q *ram.GetRoleRequest) (*ram.GetRoleResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"RoleName": q.RoleName}, ram.CreateGetRoleResponse())
}

func (c *ramClient) getUser(q *ram.GetUserRequest) (*ram.GetUserResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"UserName": q.UserName}, ram.CreateGetUserResponse())
}

func (c *ramClient) getUserMFAInfo(q *ram.GetUserMFAInfoRequest) (*ram.GetUserMFAInfoResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"UserName": q.UserName}, ram.CreateGetUserMFAInfoResponse())
}

func (c *ramClient) listAccessKeys(q *ram.ListAccessKeysRequest) (*ram.ListAccessKeysResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"UserName": q.UserName}, ram.CreateListAccessKeysResponse())
}

func (c *ramClient) listGroups(q *ram.ListGroupsRequest) (*ram.ListGroupsResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"Marker": q.Marker, "MaxItems": string(q.MaxItems)}, ram.CreateListGroupsResponse())
}

func (c *ramClient) listGroupsForUser(q *ram.ListGroupsForUserRequest) (*ram.ListGroupsForUserResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"UserName": q.UserName}, ram.CreateListGroupsForUserResponse())
}

func (c *ramClient) listPolicies(q *ram.ListPoliciesRequest) (*ram.ListPoliciesResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"PolicyType": q.PolicyType, "Marker": q.Marker, "MaxItems": string(q.MaxItems)}, ram.CreateListPoliciesResponse())
}

func (c *ramClient) listPoliciesForGroup(q *ram.ListPoliciesForGroupRequest) (*ram.ListPoliciesForGroupResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"GroupName": q.GroupName}, ram.CreateListPoliciesForGroupResponse())
}

func (c *ramClient) listPoliciesForRole(q *ram.ListPoliciesForRoleRequest) (*ram.ListPoliciesForRoleResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"RoleName": q.RoleName}, ram.CreateListPoliciesForRoleResponse())
}

func (c *ramClient) listPoliciesForUser(q *ram.ListPoliciesForUserRequest) (*ram.ListPoliciesForUserResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"UserName": q.UserName}, ram.CreateListPoliciesForUserResponse())
}

func (c *ramClient) listEntitiesForPolicy(q *ram.ListEntitiesForPolicyRequest) (*ram.ListEntitiesForPolicyResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"PolicyType": q.PolicyType, "PolicyName": q.PolicyName}, ram.CreateListEntitiesForPolicyResponse())
}

func (c *ramClient) listPolicyVersions(q *ram.ListPolicyVersionsRequest) (*ram.ListPolicyVersionsResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"PolicyType": q.PolicyType, "PolicyName": q.PolicyName}, ram.CreateListPolicyVersionsResponse())
}

func (c *ramClient) listRoles(q *ram.ListRolesRequest) (*ram.ListRolesResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"Marker": q.Marker, "MaxItems": string(q.MaxItems)}, ram.CreateListRolesResponse())
}

func (c *ramClient) listUsers(q *ram.ListUsersRequest) (*ram.ListUsersResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"Marker": q.Marker, "MaxItems": string(q.MaxItems)}, ram.CreateListUsersResponse())
}

func (c *ramClient) listUsersForGroup(q *ram.ListUsersForGroupRequest) (*ram.ListUsersForGroupResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"GroupName": q.GroupName, "Marker": q.Marker, "MaxItems": string(q.MaxItems)}, ram.CreateListUsersForGroupResponse())
}

func (c *ramClient) removeUserFromGroup(q *ram.RemoveUserFromGroupRequest) (*ram.RemoveUserFromGroupResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"GroupName": q.GroupName, "UserName": q.UserName}, ram.CreateRemoveUserFromGroupResponse())
}

func (c *ramClient) setDefaultPolicyVersion(q *ram.SetDefaultPolicyVersionRequest) (*ram.SetDefaultPolicyVersionResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"VersionId": q.VersionId, "PolicyName": q.PolicyName}, ram.CreateSetDefaultPolicyVersionResponse())
}

func (c *ramClient) updateAccessKey(q *ram.UpdateAccessKeyRequest) (*ram.UpdateAccessKeyResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"UserAccessKeyId": q.UserAccessKeyId, "UserName": q.UserName, "Status": q.Status}, ram.CreateUpdateAccessKeyResponse())
}

func (c *ramClient) updateRole(q *ram.UpdateRoleRequest) (*ram.UpdateRoleResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"NewMaxSessionDuration": string(q.NewMaxSessionDuration), "NewDescription": q.NewDescription, "NewAssumeRolePolicyDocument": q.NewAssumeRolePolicyDocument, "RoleName": q.RoleName}, ram.CreateUpdateRoleResponse())
}

func (c *imsClient) getLoginProfile(q *ims.GetLoginProfileRequest) (*ims.GetLoginProfileResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"AkProxySuffix": q.AkProxySuffix, "UserPrincipalName": q.UserPrincipalName}, ims.CreateGetLoginProfileResponse())
}

func (c *imsClient) getUser(q *ims.GetUserRequest) (*ims.GetUserResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"AkProxySuffix": q.AkProxySuffix, "UserId": q.UserId, "UserAccessKeyId": q.UserAccessKeyId, "UserPrincipalName": q.UserPrincipalName}, ims.CreateGetUserResponse())
}

func (c *imsClient) updateLoginProfile(q *ims.UpdateLoginProfileRequest) (*ims.UpdateLoginProfileResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"AkProxySuffix": q.AkProxySuffix, "Password": q.Password, "GenerateRandomPassword": string(q.GenerateRandomPassword), "MFABindRequired": string(q.MFABindRequired), "PasswordResetRequired": string(q.PasswordResetRequired), "UserPrincipalName": q.UserPrincipalName, "Status": q.Status}, ims.CreateUpdateLoginProfileResponse())
}

func (c *stsClient) assumeRole(q *sts.AssumeRoleRequest) (*sts.AssumeRoleResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"ExternalId": q.ExternalId, "RoleSessionName": q.RoleSessionName, "Policy": q.Policy, "RoleArn": q.RoleArn, "DurationSeconds": string(q.DurationSeconds)}, sts.CreateAssumeRoleResponse())
}

func (c *stsClient) getCallerIdentity(q *sts.GetCallerIdentityRequest) (*sts.GetCallerIdentityResponse, error) {
	return send(&c.Client, q.RpcRequest, nil, sts.CreateGetCallerIdentityResponse())
}

func (c *trailClient) describeTrails(q *actiontrail.DescribeTrailsRequest) (*actiontrail.DescribeTrailsResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"IncludeOrganizationTrail": string(q.IncludeOrganizationTrail), "IncludeShadowTrails": string(q.IncludeShadowTrails), "NameList": q.NameList}, actiontrail.CreateDescribeTrailsResponse())
}

func (c *trailClient) getAccessKeyLastUsedIps(q *actiontrail.GetAccessKeyLastUsedIpsRequest) (*actiontrail.GetAccessKeyLastUsedIpsResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"AccessKey": q.AccessKey, "NextToken": q.NextToken, "PageSize": q.PageSize, "ServiceName": q.ServiceName}, actiontrail.CreateGetAccessKeyLastUsedIpsResponse())
}

func (c *trailClient) getAccessKeyLastUsedProducts(q *actiontrail.GetAccessKeyLastUsedProductsRequest) (*actiontrail.GetAccessKeyLastUsedProductsResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"AccessKey": q.AccessKey}, actiontrail.CreateGetAccessKeyLastUsedProductsResponse())
}

func (c *trailClient) getTrailStatus(q *actiontrail.GetTrailStatusRequest) (*actiontrail.GetTrailStatusResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"Name": q.Name, "IsOrganizationTrail": string(q.IsOrganizationTrail)}, actiontrail.CreateGetTrailStatusResponse())
}

func (c *trailClient) lookupEvents(q *actiontrail.LookupEventsRequest) (*actiontrail.LookupEventsResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"StartTime": q.StartTime, "EndTime": q.EndTime, "NextToken": q.NextToken, "MaxResults": q.MaxResults, "Direction": q.Direction},
		actiontrail.CreateLookupEventsResponse())
}

func (c *trailClient) startLogging(q *actiontrail.StartLoggingRequest) (*actiontrail.StartLoggingResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"Name": q.Name}, actiontrail.CreateStartLoggingResponse())
}

func (c *trailClient) stopLogging(q *actiontrail.StopLoggingRequest) (*actiontrail.StopLoggingResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"Name": q.Name}, actiontrail.CreateStopLoggingResponse())
}

func (c *dirClient) getControlPolicy(q *resourcemanager.GetControlPolicyRequest) (*resourcemanager.GetControlPolicyResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"Language": q.Language, "PolicyId": q.PolicyId}, resourcemanager.CreateGetControlPolicyResponse())
}

func (c *dirClient) getResourceDirectory(q *resourcemanager.GetResourceDirectoryRequest) (*resourcemanager.GetResourceDirectoryResponse, error) {
	return send(&c.Client, q.RpcRequest, nil, resourcemanager.CreateGetResourceDirectoryResponse())
}

func (c *dirClient) listAccountsForParent(q *resourcemanager.ListAccountsForParentRequest) (*resourcemanager.ListAccountsForParentResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"ParentFolderId": q.ParentFolderId, "QueryKeyword": q.QueryKeyword, "IncludeTags": string(q.IncludeTags), "PageNumber": string(q.PageNumber), "PageSize": string(q.PageSize)}, resourcemanager.CreateListAccountsForParentResponse())
}

func (c *dirClient) listControlPolicies(q *resourcemanager.ListControlPoliciesRequest) (*resourcemanager.ListControlPoliciesResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"PolicyType": q.PolicyType, "Language": q.Language, "PageNumber": string(q.PageNumber), "PageSize": string(q.PageSize)}, resourcemanager.CreateListControlPoliciesResponse())
}

func (c *dirClient) listFoldersForParent(q *resourcemanager.ListFoldersForParentRequest) (*resourcemanager.ListFoldersForParentResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"ParentFolderId": q.ParentFolderId, "QueryKeyword": q.QueryKeyword, "PageNumber": string(q.PageNumber), "PageSize": string(q.PageSize)}, resourcemanager.CreateListFoldersForParentResponse())
}

func (c *dirClient) listPolicyAttachments(q *resourcemanager.ListPolicyAttachmentsRequest) (*resourcemanager.ListPolicyAttachmentsResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"Language": q.Language, "ResourceGroupId": q.ResourceGroupId, "PolicyType": q.PolicyType, "PrincipalType": q.PrincipalType, "PolicyName": q.PolicyName, "PrincipalName": q.PrincipalName, "PageNumber": string(q.PageNumber), "PageSize": string(q.PageSize)}, resourcemanager.CreateListPolicyAttachmentsResponse())
}

func (c *dirClient) listTargetAttachmentsForControlPolicy(q *resourcemanager.ListTargetAttachmentsForControlPolicyRequest) (*resourcemanager.ListTargetAttachmentsForControlPolicyResponse, error) {
	return send(&c.Client, q.RpcRequest, params{"PolicyId": q.PolicyId, "PageNumber": string(q.PageNumber), "PageSize": string(q.PageSize)}, resourcemanager.CreateListTargetAttachmentsForControlPolicyResponse())
}

package ram

import (
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/responses"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/actiontrail"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/ims"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/ram"
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
)

// send makes one call. The answer is not nil, also with an error.
func send[R responses.AcsResponse](c *sdk.Client, q requests.AcsRequest, answer R) (R, error) {
	return answer, c.DoAction(q, answer)
}

func (c *ramClient) AddUserToGroup(q *ram.AddUserToGroupRequest) (*ram.AddUserToGroupResponse, error) {
	return send(&c.Client, q, ram.CreateAddUserToGroupResponse())
}

func (c *ramClient) AttachPolicyToGroup(q *ram.AttachPolicyToGroupRequest) (*ram.AttachPolicyToGroupResponse, error) {
	return send(&c.Client, q, ram.CreateAttachPolicyToGroupResponse())
}

func (c *ramClient) AttachPolicyToRole(q *ram.AttachPolicyToRoleRequest) (*ram.AttachPolicyToRoleResponse, error) {
	return send(&c.Client, q, ram.CreateAttachPolicyToRoleResponse())
}

func (c *ramClient) AttachPolicyToUser(q *ram.AttachPolicyToUserRequest) (*ram.AttachPolicyToUserResponse, error) {
	return send(&c.Client, q, ram.CreateAttachPolicyToUserResponse())
}

func (c *ramClient) CreatePolicy(q *ram.CreatePolicyRequest) (*ram.CreatePolicyResponse, error) {
	return send(&c.Client, q, ram.CreateCreatePolicyResponse())
}

func (c *ramClient) DeletePolicy(q *ram.DeletePolicyRequest) (*ram.DeletePolicyResponse, error) {
	return send(&c.Client, q, ram.CreateDeletePolicyResponse())
}

func (c *ramClient) DetachPolicyFromGroup(q *ram.DetachPolicyFromGroupRequest) (*ram.DetachPolicyFromGroupResponse, error) {
	return send(&c.Client, q, ram.CreateDetachPolicyFromGroupResponse())
}

func (c *ramClient) DetachPolicyFromRole(q *ram.DetachPolicyFromRoleRequest) (*ram.DetachPolicyFromRoleResponse, error) {
	return send(&c.Client, q, ram.CreateDetachPolicyFromRoleResponse())
}

func (c *ramClient) DetachPolicyFromUser(q *ram.DetachPolicyFromUserRequest) (*ram.DetachPolicyFromUserResponse, error) {
	return send(&c.Client, q, ram.CreateDetachPolicyFromUserResponse())
}

func (c *ramClient) GetPolicy(q *ram.GetPolicyRequest) (*ram.GetPolicyResponse, error) {
	return send(&c.Client, q, ram.CreateGetPolicyResponse())
}

func (c *ramClient) GetPolicyVersion(q *ram.GetPolicyVersionRequest) (*ram.GetPolicyVersionResponse, error) {
	return send(&c.Client, q, ram.CreateGetPolicyVersionResponse())
}

func (c *ramClient) GetRole(q *ram.GetRoleRequest) (*ram.GetRoleResponse, error) {
	return send(&c.Client, q, ram.CreateGetRoleResponse())
}

func (c *ramClient) GetUser(q *ram.GetUserRequest) (*ram.GetUserResponse, error) {
	return send(&c.Client, q, ram.CreateGetUserResponse())
}

func (c *ramClient) ListAccessKeys(q *ram.ListAccessKeysRequest) (*ram.ListAccessKeysResponse, error) {
	return send(&c.Client, q, ram.CreateListAccessKeysResponse())
}

func (c *ramClient) ListGroups(q *ram.ListGroupsRequest) (*ram.ListGroupsResponse, error) {
	return send(&c.Client, q, ram.CreateListGroupsResponse())
}

func (c *ramClient) ListGroupsForUser(q *ram.ListGroupsForUserRequest) (*ram.ListGroupsForUserResponse, error) {
	return send(&c.Client, q, ram.CreateListGroupsForUserResponse())
}

func (c *ramClient) ListPolicies(q *ram.ListPoliciesRequest) (*ram.ListPoliciesResponse, error) {
	return send(&c.Client, q, ram.CreateListPoliciesResponse())
}

func (c *ramClient) ListPoliciesForGroup(q *ram.ListPoliciesForGroupRequest) (*ram.ListPoliciesForGroupResponse, error) {
	return send(&c.Client, q, ram.CreateListPoliciesForGroupResponse())
}

func (c *ramClient) ListPoliciesForRole(q *ram.ListPoliciesForRoleRequest) (*ram.ListPoliciesForRoleResponse, error) {
	return send(&c.Client, q, ram.CreateListPoliciesForRoleResponse())
}

func (c *ramClient) ListPoliciesForUser(q *ram.ListPoliciesForUserRequest) (*ram.ListPoliciesForUserResponse, error) {
	return send(&c.Client, q, ram.CreateListPoliciesForUserResponse())
}

func (c *ramClient) ListPolicyVersions(q *ram.ListPolicyVersionsRequest) (*ram.ListPolicyVersionsResponse, error) {
	return send(&c.Client, q, ram.CreateListPolicyVersionsResponse())
}

func (c *ramClient) ListRoles(q *ram.ListRolesRequest) (*ram.ListRolesResponse, error) {
	return send(&c.Client, q, ram.CreateListRolesResponse())
}

func (c *ramClient) ListUsers(q *ram.ListUsersRequest) (*ram.ListUsersResponse, error) {
	return send(&c.Client, q, ram.CreateListUsersResponse())
}

func (c *ramClient) ListUsersForGroup(q *ram.ListUsersForGroupRequest) (*ram.ListUsersForGroupResponse, error) {
	return send(&c.Client, q, ram.CreateListUsersForGroupResponse())
}

func (c *ramClient) RemoveUserFromGroup(q *ram.RemoveUserFromGroupRequest) (*ram.RemoveUserFromGroupResponse, error) {
	return send(&c.Client, q, ram.CreateRemoveUserFromGroupResponse())
}

func (c *ramClient) SetDefaultPolicyVersion(q *ram.SetDefaultPolicyVersionRequest) (*ram.SetDefaultPolicyVersionResponse, error) {
	return send(&c.Client, q, ram.CreateSetDefaultPolicyVersionResponse())
}

func (c *ramClient) UpdateAccessKey(q *ram.UpdateAccessKeyRequest) (*ram.UpdateAccessKeyResponse, error) {
	return send(&c.Client, q, ram.CreateUpdateAccessKeyResponse())
}

func (c *ramClient) UpdateRole(q *ram.UpdateRoleRequest) (*ram.UpdateRoleResponse, error) {
	return send(&c.Client, q, ram.CreateUpdateRoleResponse())
}

func (c *imsClient) GetLoginProfile(q *ims.GetLoginProfileRequest) (*ims.GetLoginProfileResponse, error) {
	return send(&c.Client, q, ims.CreateGetLoginProfileResponse())
}

func (c *imsClient) GetUser(q *ims.GetUserRequest) (*ims.GetUserResponse, error) {
	return send(&c.Client, q, ims.CreateGetUserResponse())
}

func (c *imsClient) UpdateLoginProfile(q *ims.UpdateLoginProfileRequest) (*ims.UpdateLoginProfileResponse, error) {
	return send(&c.Client, q, ims.CreateUpdateLoginProfileResponse())
}

func (c *stsClient) AssumeRole(q *sts.AssumeRoleRequest) (*sts.AssumeRoleResponse, error) {
	return send(&c.Client, q, sts.CreateAssumeRoleResponse())
}

func (c *stsClient) GetCallerIdentity(q *sts.GetCallerIdentityRequest) (*sts.GetCallerIdentityResponse, error) {
	return send(&c.Client, q, sts.CreateGetCallerIdentityResponse())
}

func (c *trailClient) DescribeTrails(q *actiontrail.DescribeTrailsRequest) (*actiontrail.DescribeTrailsResponse, error) {
	return send(&c.Client, q, actiontrail.CreateDescribeTrailsResponse())
}

func (c *trailClient) GetAccessKeyLastUsedIps(q *actiontrail.GetAccessKeyLastUsedIpsRequest) (*actiontrail.GetAccessKeyLastUsedIpsResponse, error) {
	return send(&c.Client, q, actiontrail.CreateGetAccessKeyLastUsedIpsResponse())
}

func (c *trailClient) GetAccessKeyLastUsedProducts(q *actiontrail.GetAccessKeyLastUsedProductsRequest) (*actiontrail.GetAccessKeyLastUsedProductsResponse, error) {
	return send(&c.Client, q, actiontrail.CreateGetAccessKeyLastUsedProductsResponse())
}

func (c *trailClient) GetTrailStatus(q *actiontrail.GetTrailStatusRequest) (*actiontrail.GetTrailStatusResponse, error) {
	return send(&c.Client, q, actiontrail.CreateGetTrailStatusResponse())
}

func (c *trailClient) StartLogging(q *actiontrail.StartLoggingRequest) (*actiontrail.StartLoggingResponse, error) {
	return send(&c.Client, q, actiontrail.CreateStartLoggingResponse())
}

func (c *trailClient) StopLogging(q *actiontrail.StopLoggingRequest) (*actiontrail.StopLoggingResponse, error) {
	return send(&c.Client, q, actiontrail.CreateStopLoggingResponse())
}

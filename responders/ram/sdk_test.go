package ram

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/actiontrail"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/ims"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/ram"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/resourcemanager"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/sts"
)

// One mention of a product's own client brings a megabyte of calls that nobody
// makes into the program; see sdk.go.
func TestNoProductClients(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	product := regexp.MustCompile(`[^.\w](ram|ims|sts|actiontrail|resourcemanager)\.(Client\b|NewClient)`)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if m := product.Find(b); m != nil {
			t.Errorf("%s uses %s: add the call to sdk.go instead", f, m[1:])
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Every call sends each field of its request under the name of its tag, as the
// SDK would if it were given the request itself.
func TestCallsSendWhatTheSDKWould(t *testing.T) {
	var r ramClient
	var i imsClient
	var s stsClient
	var a trailClient
	var d dirClient
	var sent url.Values
	catch := roundTrip(func(q *http.Request) (*http.Response, error) {
		sent = q.URL.Query()
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}")), Request: q}, nil
	})
	for _, c := range []interface {
		InitWithAccessKey(region, id, secret string) error
		SetTransport(http.RoundTripper)
	}{&r, &i, &s, &a, &d} {
		if err := c.InitWithAccessKey("cn-hangzhou", "LTAIEXAMPLE", "EXAMPLE"); err != nil {
			t.Fatal(err)
		}
		c.SetTransport(catch)
	}
	calls := map[string]func(t *testing.T){
		"ramClient.addUserToGroup":                        asked(&sent, r.addUserToGroup, ram.CreateAddUserToGroupRequest()),
		"ramClient.attachPolicyToGroup":                   asked(&sent, r.attachPolicyToGroup, ram.CreateAttachPolicyToGroupRequest()),
		"ramClient.attachPolicyToRole":                    asked(&sent, r.attachPolicyToRole, ram.CreateAttachPolicyToRoleRequest()),
		"ramClient.attachPolicyToUser":                    asked(&sent, r.attachPolicyToUser, ram.CreateAttachPolicyToUserRequest()),
		"ramClient.createPolicy":                          asked(&sent, r.createPolicy, ram.CreateCreatePolicyRequest()),
		"ramClient.deletePolicy":                          asked(&sent, r.deletePolicy, ram.CreateDeletePolicyRequest()),
		"ramClient.detachPolicyFromGroup":                 asked(&sent, r.detachPolicyFromGroup, ram.CreateDetachPolicyFromGroupRequest()),
		"ramClient.detachPolicyFromRole":                  asked(&sent, r.detachPolicyFromRole, ram.CreateDetachPolicyFromRoleRequest()),
		"ramClient.detachPolicyFromUser":                  asked(&sent, r.detachPolicyFromUser, ram.CreateDetachPolicyFromUserRequest()),
		"ramClient.getGroup":                              asked(&sent, r.getGroup, ram.CreateGetGroupRequest()),
		"ramClient.getPolicy":                             asked(&sent, r.getPolicy, ram.CreateGetPolicyRequest()),
		"ramClient.getPolicyVersion":                      asked(&sent, r.getPolicyVersion, ram.CreateGetPolicyVersionRequest()),
		"ramClient.getRole":                               asked(&sent, r.getRole, ram.CreateGetRoleRequest()),
		"ramClient.getUser":                               asked(&sent, r.getUser, ram.CreateGetUserRequest()),
		"ramClient.getUserMFAInfo":                        asked(&sent, r.getUserMFAInfo, ram.CreateGetUserMFAInfoRequest()),
		"ramClient.listAccessKeys":                        asked(&sent, r.listAccessKeys, ram.CreateListAccessKeysRequest()),
		"ramClient.listEntitiesForPolicy":                 asked(&sent, r.listEntitiesForPolicy, ram.CreateListEntitiesForPolicyRequest()),
		"ramClient.listGroups":                            asked(&sent, r.listGroups, ram.CreateListGroupsRequest()),
		"ramClient.listGroupsForUser":                     asked(&sent, r.listGroupsForUser, ram.CreateListGroupsForUserRequest()),
		"ramClient.listPolicies":                          asked(&sent, r.listPolicies, ram.CreateListPoliciesRequest()),
		"ramClient.listPoliciesForGroup":                  asked(&sent, r.listPoliciesForGroup, ram.CreateListPoliciesForGroupRequest()),
		"ramClient.listPoliciesForRole":                   asked(&sent, r.listPoliciesForRole, ram.CreateListPoliciesForRoleRequest()),
		"ramClient.listPoliciesForUser":                   asked(&sent, r.listPoliciesForUser, ram.CreateListPoliciesForUserRequest()),
		"ramClient.listPolicyVersions":                    asked(&sent, r.listPolicyVersions, ram.CreateListPolicyVersionsRequest()),
		"ramClient.listRoles":                             asked(&sent, r.listRoles, ram.CreateListRolesRequest()),
		"ramClient.listUsers":                             asked(&sent, r.listUsers, ram.CreateListUsersRequest()),
		"ramClient.listUsersForGroup":                     asked(&sent, r.listUsersForGroup, ram.CreateListUsersForGroupRequest()),
		"ramClient.removeUserFromGroup":                   asked(&sent, r.removeUserFromGroup, ram.CreateRemoveUserFromGroupRequest()),
		"ramClient.setDefaultPolicyVersion":               asked(&sent, r.setDefaultPolicyVersion, ram.CreateSetDefaultPolicyVersionRequest()),
		"ramClient.updateAccessKey":                       asked(&sent, r.updateAccessKey, ram.CreateUpdateAccessKeyRequest()),
		"ramClient.updateRole":                            asked(&sent, r.updateRole, ram.CreateUpdateRoleRequest()),
		"imsClient.getLoginProfile":                       asked(&sent, i.getLoginProfile, ims.CreateGetLoginProfileRequest()),
		"imsClient.getUser":                               asked(&sent, i.getUser, ims.CreateGetUserRequest()),
		"imsClient.updateLoginProfile":                    asked(&sent, i.updateLoginProfile, ims.CreateUpdateLoginProfileRequest()),
		"stsClient.assumeRole":                            asked(&sent, s.assumeRole, sts.CreateAssumeRoleRequest()),
		"stsClient.getCallerIdentity":                     asked(&sent, s.getCallerIdentity, sts.CreateGetCallerIdentityRequest()),
		"trailClient.describeTrails":                      asked(&sent, a.describeTrails, actiontrail.CreateDescribeTrailsRequest()),
		"trailClient.getAccessKeyLastUsedIps":             asked(&sent, a.getAccessKeyLastUsedIps, actiontrail.CreateGetAccessKeyLastUsedIpsRequest()),
		"trailClient.getAccessKeyLastUsedProducts":        asked(&sent, a.getAccessKeyLastUsedProducts, actiontrail.CreateGetAccessKeyLastUsedProductsRequest()),
		"trailClient.getTrailStatus":                      asked(&sent, a.getTrailStatus, actiontrail.CreateGetTrailStatusRequest()),
		"trailClient.lookupEvents":                        asked(&sent, a.lookupEvents, actiontrail.CreateLookupEventsRequest()),
		"trailClient.startLogging":                        asked(&sent, a.startLogging, actiontrail.CreateStartLoggingRequest()),
		"trailClient.stopLogging":                         asked(&sent, a.stopLogging, actiontrail.CreateStopLoggingRequest()),
		"dirClient.getControlPolicy":                      asked(&sent, d.getControlPolicy, resourcemanager.CreateGetControlPolicyRequest()),
		"dirClient.getResourceDirectory":                  asked(&sent, d.getResourceDirectory, resourcemanager.CreateGetResourceDirectoryRequest()),
		"dirClient.listAccountsForParent":                 asked(&sent, d.listAccountsForParent, resourcemanager.CreateListAccountsForParentRequest()),
		"dirClient.listControlPolicies":                   asked(&sent, d.listControlPolicies, resourcemanager.CreateListControlPoliciesRequest()),
		"dirClient.listFoldersForParent":                  asked(&sent, d.listFoldersForParent, resourcemanager.CreateListFoldersForParentRequest()),
		"dirClient.listPolicyAttachments":                 asked(&sent, d.listPolicyAttachments, resourcemanager.CreateListPolicyAttachmentsRequest()),
		"dirClient.listTargetAttachmentsForControlPolicy": asked(&sent, d.listTargetAttachmentsForControlPolicy, resourcemanager.CreateListTargetAttachmentsForControlPolicyRequest()),
	}
	src, err := os.ReadFile("sdk.go")
	if err != nil {
		t.Fatal(err)
	}
	methods := regexp.MustCompile(`(?m)^func \(c \*(\w+)\) (\w+)\(`).FindAllSubmatch(src, -1)
	if len(methods) != len(calls) {
		t.Errorf("sdk.go has %d calls, this test %d", len(methods), len(calls))
	}
	for _, m := range methods {
		name := string(m[1]) + "." + string(m[2])
		if test := calls[name]; test == nil {
			t.Errorf("%s is not tested here", name)
		} else {
			t.Run(name, test)
		}
	}
}

// asked fills every field of q that the SDK's walk over the tags would send with
// a value of its own, makes the call, and looks for each in what was sent.
func asked[Q requests.AcsRequest, R any](sent *url.Values, call func(Q) (R, error), q Q) func(*testing.T) {
	return func(t *testing.T) {
		*sent = nil
		q.SetDomain("cloud.invalid")
		v := reflect.ValueOf(q).Elem()
		want := map[string]string{"Action": q.GetActionName(), "Version": q.GetVersion()}
		for i := range v.NumField() {
			// Lists, of tags, no call of ours sends.
			if name := v.Type().Field(i).Tag.Get("name"); name != "" && v.Field(i).Kind() == reflect.String {
				want[name] = fmt.Sprint("v", i)
				v.Field(i).SetString(want[name])
			}
		}
		if _, err := call(q); err != nil {
			t.Fatal(err)
		}
		for name, value := range want {
			if got := sent.Get(name); got != value {
				t.Errorf("%s: sent %q, the SDK sends %q", name, cmp.Or(got, "nothing"), value)
			}
		}
	}
}

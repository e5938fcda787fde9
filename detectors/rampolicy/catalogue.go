package rampolicy

import (
	"slices"
	"strings"

	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// Class is what an action can do to an account, by its worst use. The classes
// and who belongs to which are our judgement: the vendor publishes none.
type Class uint8

// The classes, from the worst to the least.
const (
	ClassNone       Class = iota
	ClassPermission       // changes who may do what
	ClassCredential       // makes or changes ways to sign in
	ClassOrg              // guard rails, member accounts, cloud SSO
	ClassAssume           // becomes another identity
	ClassPassRole         // gives an identity to a service
	ClassExec             // runs code where identities are
	ClassAudit            // takes the audit trail away
	ClassSecret           // reads secrets
	ClassExposure         // opens data or networks to outsiders
	ClassDestroy          // destroys data, keys or backups
	classCount            // how many there are
)

// Action is one entry of the catalogue of actions worth naming.
type Action struct {
	Name  string // in the vendor's spelling
	Class Class
}

// catalogue lists actions whose misuse matters, worst first. It is for naming
// and for severity; what a document allows is decided without it.
var catalogue = func() []Action {
	var out []Action
	add := func(c Class, names string) {
		for _, n := range strings.Fields(names) {
			out = append(out, Action{Name: n, Class: c})
		}
	}
	add(ClassPermission, `ram:AttachPolicyToUser ram:CreatePolicyVersion ram:AttachPolicyToRole ram:AttachPolicyToGroup ram:AttachPolicy
		ram:SetDefaultPolicyVersion ram:UpdateRole ram:AddUserToGroup ram:CreateRole ram:CreatePolicy ram:UpdatePolicyVersion
		ram:DetachPolicyFromUser ram:DetachPolicyFromGroup ram:DetachPolicyFromRole ram:DetachPolicy ram:DeletePolicyVersion
		ram:DeletePolicy ram:RemoveUserFromGroup ram:DeleteRole ram:CreateGroup ram:DeleteGroup ram:UpdateGroup`)
	add(ClassCredential, `ram:CreateAccessKey ram:CreateLoginProfile ram:UpdateLoginProfile ram:UpdateAccessKey ram:CreateUser
		ram:RestoreAccessKeyFromRecycleBin ram:RestoreUserFromRecycleBin ram:UnbindMFADevice ram:DisableVirtualMFA ram:DeleteVirtualMFADevice
		ram:CreateSAMLProvider ram:UpdateSAMLProvider ram:SetUserSsoSettings ram:CreateOIDCProvider ram:UpdateOIDCProvider
		ram:AddClientIdToOIDCProvider ram:AddFingerprintToOIDCProvider ram:SetSecurityPreference ram:SetPasswordPolicy
		ram:ChangePassword ram:CreateAppSecret ram:DeleteAccessKey ram:DeleteLoginProfile ram:DeleteUser ram:UpdateUser
		ims:CreateAccessKey ims:CreateLoginProfile ims:UpdateLoginProfile ims:UpdateAccessKey ims:CreateUser ims:AddUserToGroup
		ims:UnbindMFADevice ims:DisableVirtualMFA ims:CreateOIDCProvider ims:SetUserSsoSettings ims:SetSecurityPreference`)
	add(ClassOrg, `resourcemanager:DetachControlPolicy resourcemanager:UpdateControlPolicy resourcemanager:DisableControlPolicy
		resourcemanager:DeleteControlPolicy resourcemanager:MoveAccount resourcemanager:RemoveCloudAccount resourcemanager:DeleteAccount
		resourcemanager:DestroyResourceDirectory resourcemanager:RegisterDelegatedAdministrator resourcemanager:CreateResourceAccount
		resourcemanager:InviteAccountToResourceDirectory resourcemanager:BindSecureMobilePhone resourcemanager:ChangeAccountEmail
		cloudsso:CreateAccessAssignment cloudsso:AddPermissionPolicyToAccessConfiguration cloudsso:UpdateInlinePolicyForAccessConfiguration
		cloudsso:ProvisionAccessConfiguration cloudsso:AddUserToGroup cloudsso:ResetUserPassword cloudsso:CreateSCIMServerCredential
		cloudsso:SetExternalSAMLIdentityProvider cloudsso:SetMFAAuthenticationStatus cloudsso:DeleteMFADeviceForUser`)
	add(ClassAssume, `sts:AssumeRole`)
	add(ClassPassRole, `ram:PassRole`)
	add(ClassExec, `ecs:RunCommand ecs:InvokeCommand ecs:SendFile ecs:StartTerminalSession ecs:AttachInstanceRamRole ecs:ModifyInstanceAttribute
		ecs:ModifyInstanceVncPasswd ecs:AttachKeyPair ecs:RunInstances ecs:CreateInstance ecs:CreateLaunchTemplateVersion
		fc:UpdateFunction fc:CreateFunction fc:InvokeFunction oos:StartExecution oos:CreateTemplate ros:CreateStack ros:UpdateStack
		eci:CreateContainerGroup eci:ExecContainerCommand ess:CreateScalingConfiguration fnf:CreateFlow fnf:StartExecution
		cs:DescribeClusterUserKubeconfig cs:GrantPermissions`)
	add(ClassAudit, `actiontrail:StopLogging actiontrail:DeleteTrail actiontrail:UpdateTrail actiontrail:DisableInsight
		actiontrail:DeleteDataEventSelector actiontrail:UpdateGlobalEventsStorageRegion log:DeleteProject log:DeleteLogStore log:UpdateLogStore
		log:DeleteIndex log:DeleteAlert log:DisableAlert config:StopConfigRules config:DeleteConfigRules yundun-sas:UnbindAegis
		vpc:DeactiveFlowLog vpc:DeleteFlowLog`)
	add(ClassSecret, `kms:GetSecretValue ram:GetAppSecret kms:Decrypt kms:PutSecretValue cr:GetAuthorizationToken oos:GetSecretParameter ecs:GetInstanceConsoleOutput`)
	add(ClassExposure, `oss:PutBucketPolicy oss:PutBucketAcl oss:PutObjectAcl oss:PutBucketReplication oss:DeleteBucketPublicAccessBlock
		kms:SetKeyPolicy kms:SetSecretPolicy log:PutProjectPolicy log:CreateOSSExport resourcesharing:CreateResourceShare
		resourcesharing:AssociateResourceShare ecs:ModifyImageSharePermission ecs:ExportImage ecs:ExportSnapshot ecs:AuthorizeSecurityGroup
		rds:ModifySecurityIps rds:AllocateInstancePublicConnection rds:ModifyWhitelistTemplate rds:CreateAccount rds:ResetAccountPassword
		polardb:ModifyDBClusterAccessWhitelist dms:CreateDataExportOrder alidns:UpdateDomainRecord`)
	add(ClassDestroy, `kms:ScheduleKeyDeletion kms:DisableKey kms:DeleteKeyMaterial kms:DeleteSecret oss:DeleteBucket oss:DeleteObject
		oss:PutBucketLifecycle ecs:DeleteInstance ecs:DeleteInstances ecs:DeleteDisk ecs:DeleteSnapshot rds:DeleteDBInstance rds:DeleteBackup
		rds:ModifyBackupPolicy hbr:DeleteVault hbr:DeleteBackupPlan nas:DeleteFileSystem polardb:DeleteDBCluster ess:DeleteScalingGroup
		vpc:DeleteVpc alidns:DeleteDomain`)
	add(ClassNone, `oss:PutObject oss:GetObject oss:ListObjects oss:ListBuckets ecs:StopInstance ecs:RebootInstance ecs:CreateSnapshot
		ecs:DescribeInstances ecs:DescribeUserData rds:ModifyDBInstanceSpec rds:DescribeDBInstances log:GetLogStoreLogs log:PostLogStoreLogs
		kms:ListSecrets kms:Encrypt ram:ListUsers ram:ListRoles ram:ListPolicies ram:GetPolicyVersion ram:GetUser ram:GetAccountSummary
		slb:CreateLoadBalancer vpc:CreateVpc actiontrail:LookupEvents actiontrail:DescribeTrails bssapi:QueryBill bss:DescribeOrderList
		tag:TagResources cms:DescribeMetricList`)
	return out
}()

// knownAction is an action of the catalogue, or else one that a path needs,
// made ready for being looked up.
type knownAction struct {
	name, lower string
	verb        string // service and first word: "ram:Create"
	first       int    // the number of the first one with this verb
}

// known holds the catalogue in its order, then what only paths name. byName
// are their numbers in the order of lower-case names, byLower their numbers by
// these.
var known, byName, byLower = func() ([]knownAction, []int, map[string]int) {
	var list []knownAction
	numbers := map[string]int{}
	add := func(name string) {
		lower := strings.ToLower(name)
		if _, ok := numbers[lower]; ok {
			return
		}
		numbers[lower] = len(list)
		k := knownAction{name: name, lower: lower, verb: verbOf(name), first: len(list)}
		if i := slices.IndexFunc(list, func(o knownAction) bool { return o.verb == k.verb }); i >= 0 {
			k.first = i
		}
		list = append(list, k)
	}
	for _, act := range catalogue {
		add(act.Name)
	}
	for i := range paths {
		for j := range paths[i].Needs {
			for _, act := range paths[i].Needs[j].Actions {
				add(act)
			}
		}
	}
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	lists.Sort(order, func(x, y int) int { return strings.Compare(list[x].lower, list[y].lower) })
	return list, order, numbers
}()

// lowers are the known actions in lower case, which are asked for all the time.
var lowers = func() map[string]string {
	m := make(map[string]string, len(known))
	for _, k := range known {
		m[k.name] = k.lower
	}
	return m
}()

// lower is strings.ToLower.
func lower(text string) string {
	if l, ok := lowers[text]; ok {
		return l
	}
	return strings.ToLower(text)
}

// knownCells returns the cells of the known actions, -1 for those that could
// not be placed.
func (d *dimension) knownCells() []int32 {
	if d.known != nil {
		return d.known
	}
	common := newBitset(len(d.patterns))
	words := len(common)
	sets := make(bitset, len(known)*words) // one after the other
	of := func(i int) bitset { return sets[i*words : (i+1)*words] }
	for p := range d.globs {
		g := &d.globs[p]
		switch g.form {
		case formLiteral:
			if i, ok := byLower[g.lead]; ok {
				of(i).set(p)
			}
			continue
		case formAll:
			common.set(p)
			continue
		}
		from, _ := slices.BinarySearchFunc(byName, g.lead, func(i int, lead string) int { return strings.Compare(known[i].lower, lead) })
		for _, i := range byName[from:] {
			if !strings.HasPrefix(known[i].lower, g.lead) {
				break
			}
			if g.form == formPrefix || matchTokens(g.toks, known[i].lower) {
				of(i).set(p)
			}
		}
	}
	d.known = make([]int32, len(known))
	elsewhere := int32(d.index.find(common))
	for i := range d.known {
		set := of(i)
		if set.empty() {
			d.known[i] = elsewhere
			continue
		}
		for w := range common {
			set[w] |= common[w]
		}
		d.known[i] = int32(d.index.find(set))
	}
	return d.known
}

// readVerbs begin the names of actions that only look.
var readVerbs = []string{"get", "list", "describe", "query", "check", "lookup", "search", "batchget", "batchquery", "head", "view", "count",
	"test", "verify", "select", "estimate", "preview", "download", "export", "desc", "senderstatistics"}

// onlyReads says whether everything that an action pattern matches looks like
// reading, by its verb.
func onlyReads(glob string) bool {
	_, name, ok := strings.Cut(strings.ToLower(glob), ":")
	if !ok {
		return false
	}
	return slices.ContainsFunc(readVerbs, func(v string) bool { return strings.HasPrefix(name, v) })
}

// atLeastClass says whether a class is at least as bad as another.
func (c Class) atLeast(o Class) bool { return c != ClassNone && c <= o }

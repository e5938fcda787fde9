package rampolicy

import (
	"slices"
	"strings"
)

// Path is a known way from some permissions to more, by its number in the
// project's list of escalation primitives.
type Path struct {
	ID    string
	Gives string // what it leads to, in words
	Zh    string
	// Admin: whoever can walk it can make themselves administrator.
	Admin bool
	Level Severity // of gaining it
	Needs []Atom   // all of them
}

// Atom is one permission that a path needs: one of the actions, on one of the
// kinds of resource.
type Atom struct {
	Actions []string
	On      string            // a kind of resource, see resourceProbes; "own-user" and so on are enough on what is the holder's own
	With    map[string]string // condition keys that have these values
}

func need(on string, actions ...string) Atom { return Atom{Actions: actions, On: on} }

// paths are E1 to E33. What they need was derived from the API, not tried on
// a live account, where nothing else is said in the reference.
var paths = []Path{
	{ID: "E1", Admin: true, Level: Critical, Gives: "rewrite a policy that is attached to oneself", Zh: "改写已附加给自己的策略",
		Needs: []Atom{need("own-policy", "ram:CreatePolicyVersion")}},
	{ID: "E2", Level: Critical, Gives: "switch a policy back to an older, wider version", Zh: "将策略切换回更宽的旧版本",
		Needs: []Atom{need("own-policy", "ram:SetDefaultPolicyVersion")}},
	{ID: "E3", Admin: true, Level: Critical, Gives: "attach any policy to oneself", Zh: "为自己附加任意策略",
		Needs: []Atom{need("own-user", "ram:AttachPolicyToUser"), need("system-policy", "ram:AttachPolicyToUser")}},
	{ID: "E4", Admin: true, Level: Critical, Gives: "attach any policy to a group one is in", Zh: "为自己所在的用户组附加任意策略",
		Needs: []Atom{need("own-group", "ram:AttachPolicyToGroup"), need("system-policy", "ram:AttachPolicyToGroup")}},
	{ID: "E5", Admin: true, Level: Critical, Gives: "attach any policy to a role and assume it", Zh: "为角色附加任意策略并扮演该角色",
		Needs: []Atom{need("role", "ram:AttachPolicyToRole"), need("system-policy", "ram:AttachPolicyToRole"), need("role", "sts:AssumeRole")}},
	{ID: "E6", Admin: true, Level: Critical, Gives: "attach any policy through the ResourceManager API", Zh: "通过资源管理 API 附加任意策略",
		Needs: []Atom{need("own-user", "ram:AttachPolicy"), need("system-policy", "ram:AttachPolicy")}},
	{ID: "E7", Level: Critical, Gives: "join any group", Zh: "加入任意用户组",
		Needs: []Atom{need("own-user", "ram:AddUserToGroup"), need("group", "ram:AddUserToGroup")}},
	{ID: "E8", Level: Critical, Gives: "make an AccessKey for any user", Zh: "为任意用户创建 AccessKey",
		Needs: []Atom{need("user", "ram:CreateAccessKey")}},
	{ID: "E9", Level: Critical, Gives: "set the console password of any user", Zh: "设置任意用户的控制台密码",
		Needs: []Atom{need("user", "ram:CreateLoginProfile", "ram:UpdateLoginProfile")}},
	{ID: "E10", Level: Critical, Gives: "make any role trust oneself and assume it", Zh: "修改任意角色的信任策略并扮演该角色",
		Needs: []Atom{need("role", "ram:UpdateRole"), need("role", "sts:AssumeRole")}},
	{ID: "E11", Admin: true, Level: Critical, Gives: "make a role with any policy", Zh: "创建附带任意策略的角色",
		Needs: []Atom{need("role", "ram:CreateRole"), need("role", "ram:AttachPolicyToRole"), need("system-policy", "ram:AttachPolicyToRole")}},
	{ID: "E12", Level: Critical, Gives: "make a new user with any rights and a credential", Zh: "创建拥有任意权限和凭证的新用户",
		Needs: []Atom{need("user", "ram:CreateUser"), need("user", "ram:AttachPolicyToUser", "ram:AddUserToGroup"), need("user", "ram:CreateAccessKey", "ram:CreateLoginProfile")}},
	{ID: "E13", Level: Critical, Gives: "start an instance with any role and take its credentials", Zh: "以任意角色启动实例并取得其凭证",
		Needs: []Atom{{Actions: []string{"ram:PassRole"}, On: "role", With: map[string]string{"acs:service": "ecs.aliyuncs.com"}}, need("ecs", "ecs:RunInstances", "ecs:CreateInstance")}},
	{ID: "E14", Level: Critical, Gives: "give a running instance any role", Zh: "为运行中的实例授予任意角色",
		Needs: []Atom{{Actions: []string{"ram:PassRole"}, On: "role", With: map[string]string{"acs:service": "ecs.aliyuncs.com"}}, need("ecs", "ecs:AttachInstanceRamRole")}},
	{ID: "E15", Level: High, Gives: "run code on instances that hold a role", Zh: "在持有角色的实例上执行代码",
		Needs: []Atom{need("ecs", "ecs:RunCommand", "ecs:InvokeCommand", "ecs:SendFile", "ecs:StartTerminalSession")}},
	{ID: "E16", Level: Critical, Gives: "run a function as any role that trusts the service", Zh: "以信任函数计算的任意角色运行函数",
		Needs: []Atom{{Actions: []string{"ram:PassRole"}, On: "role", With: map[string]string{"acs:service": "fc.aliyuncs.com"}}, need("fc", "fc:CreateFunction"), need("fc", "fc:InvokeFunction")}},
	{ID: "E17", Level: High, Gives: "change the code of functions that hold a role", Zh: "修改持有角色的函数代码",
		Needs: []Atom{need("fc", "fc:UpdateFunction")}},
	{ID: "E18", Level: High, Gives: "build stacks as a stack role", Zh: "以资源栈角色创建资源栈",
		Needs: []Atom{need("ros", "ros:CreateStack")}},
	{ID: "E19", Level: High, Gives: "run automation as an execution role", Zh: "以执行角色运行自动化任务",
		Needs: []Atom{need("oos", "oos:StartExecution")}},
	{ID: "E20", Level: Critical, Gives: "start containers or workflows with any role", Zh: "以任意角色启动容器或工作流",
		Needs: []Atom{need("role", "ram:PassRole"), need("eci", "eci:CreateContainerGroup", "ess:CreateScalingConfiguration", "ecs:CreateLaunchTemplateVersion", "fnf:CreateFlow")}},
	{ID: "E21", Level: High, Gives: "enter clusters whose pods or workers hold roles", Zh: "进入 Pod 或节点持有角色的集群",
		Needs: []Atom{need("cs", "cs:DescribeClusterUserKubeconfig", "cs:GrantPermissions")}},
	{ID: "E22", Level: Critical, Gives: "sign in as anybody through an own identity provider", Zh: "通过自建身份提供商以任意身份登录",
		Needs: []Atom{need("any", "ram:CreateSAMLProvider", "ram:UpdateSAMLProvider", "ram:SetUserSsoSettings")}},
	{ID: "E23", Level: Critical, Gives: "mint tokens for roles that trust an OIDC provider", Zh: "为信任 OIDC 提供商的角色签发令牌",
		Needs: []Atom{need("any", "ram:CreateOIDCProvider", "ram:UpdateOIDCProvider", "ram:AddClientIdToOIDCProvider", "ram:AddFingerprintToOIDCProvider")}},
	{ID: "E24", Level: High, Gives: "bring deleted users and keys back", Zh: "恢复已删除的用户和密钥",
		Needs: []Atom{need("user", "ram:RestoreUserFromRecycleBin", "ram:RestoreAccessKeyFromRecycleBin")}},
	{ID: "E25", Level: High, Gives: "let everybody make long-lived keys", Zh: "允许所有人自行创建长期密钥",
		Needs: []Atom{need("any", "ram:SetSecurityPreference")}},
	{ID: "E26", Level: High, Gives: "take the second factor off users", Zh: "移除用户的多因素认证",
		Needs: []Atom{need("user", "ram:UnbindMFADevice", "ram:DisableVirtualMFA", "ram:UpdateLoginProfile")}},
	{ID: "E27", Level: Critical, Gives: "gain rights in member accounts through cloud SSO", Zh: "通过云 SSO 获得成员账号权限",
		Needs: []Atom{need("any", "cloudsso:CreateAccessAssignment", "cloudsso:AddPermissionPolicyToAccessConfiguration", "cloudsso:UpdateInlinePolicyForAccessConfiguration",
			"cloudsso:AddUserToGroup", "cloudsso:ResetUserPassword", "cloudsso:CreateSCIMServerCredential")}},
	{ID: "E28", Level: Critical, Gives: "take the organisation's guard rails off", Zh: "移除资源目录的管控策略",
		Needs: []Atom{need("any", "resourcemanager:DetachControlPolicy", "resourcemanager:UpdateControlPolicy", "resourcemanager:DisableControlPolicy", "resourcemanager:MoveAccount")}},
	{ID: "E29", Level: Critical, Gives: "become administrator of member accounts", Zh: "成为成员账号的管理员",
		Needs: []Atom{need("directory-role", "sts:AssumeRole")}},
	{ID: "E30", Level: High, Gives: "assume every role that trusts the account", Zh: "扮演信任本账号的所有角色",
		Needs: []Atom{need("role", "sts:AssumeRole")}},
	{ID: "E31", Level: High, Gives: "hand data to outsiders by a resource policy", Zh: "通过资源策略向外部开放数据",
		Needs: []Atom{need("any", "oss:PutBucketPolicy", "oss:PutBucketAcl", "kms:SetKeyPolicy", "kms:SetSecretPolicy", "log:PutProjectPolicy",
			"resourcesharing:CreateResourceShare", "resourcesharing:AssociateResourceShare")}},
	{ID: "E32", Level: Medium, Gives: "move resources under grants that go by tag", Zh: "通过修改标签绕过基于标签的授权",
		Needs: []Atom{need("any", "tag:TagResources", "ecs:TagResources", "rds:TagResources")}},
	{ID: "E33", Level: High, Gives: "blind the audit trail", Zh: "关闭操作审计",
		Needs: []Atom{need("any", "actiontrail:StopLogging", "actiontrail:DeleteTrail", "actiontrail:UpdateTrail", "log:DeleteProject")}},
}

// pathActions are the numbers of the known actions that the paths need.
var pathActions = func() [][]int {
	out := make([][]int, len(paths))
	for i := range paths {
		for j := range paths[i].Needs {
			for _, act := range paths[i].Needs[j].Actions {
				out[i] = append(out[i], byLower[strings.ToLower(act)])
			}
		}
	}
	return out
}()

// arbitrary is a name that no policy is expected to spell out: a permission
// that covers it covers any name.
const arbitrary = "tw-any-name"

// Own names what belongs to the holder of documents, so that a permission on
// just that counts as one that the holder can use on themselves. Nothing is
// known to belong to the holder when it is empty; permissions on anything of
// a kind always count.
type Own struct {
	Users    []string // the user itself
	Groups   []string // groups the user is in
	Policies []string // custom policies attached to any of these
}

// resourceProbes returns resources of a kind that stand for any of the kind,
// in one account, and for own- kinds what the holder has of it.
func resourceProbes(on, action, account string, own Own) []string {
	if kind, ok := strings.CutPrefix(on, "own-"); ok {
		out := resourceProbes(kind, action, account, own)
		for _, n := range map[string][]string{"user": own.Users, "group": own.Groups, "policy": own.Policies}[kind] {
			out = append(out, "acs:ram:*:"+account+":"+kind+"/"+n)
		}
		return out
	}
	ram := func(kind string) []string { return []string{"acs:ram:*:" + account + ":" + kind + "/" + arbitrary} }
	switch on {
	case "user", "group", "role", "policy":
		return ram(on)
	case "system-policy":
		return append(ram("policy"), "acs:ram:*:system:policy/AdministratorAccess")
	case "directory-role":
		return []string{"acs:ram:*:" + arbitrary + ":role/resourcedirectoryaccountaccessrole", "acs:ram:*:" + arbitrary + ":role/ResourceDirectoryAccountAccessRole"}
	}
	return anyResource(action, account)
}

// anyResource returns resources that stand for any resource of the action's
// service. Where the service has several kinds each is tried.
func anyResource(action, account string) []string {
	service, name, _ := strings.Cut(strings.ToLower(action), ":")
	base := "acs:" + service + ":*:" + account + ":"
	switch service {
	case "ram":
		var out []string
		for _, kind := range []string{"user", "role", "group", "policy", "mfa", "saml-provider", "oidc-provider"} {
			out = append(out, base+kind+"/"+arbitrary)
		}
		return append(out, base+"*")
	case "sts":
		return []string{"acs:ram:*:" + account + ":role/" + arbitrary}
	case "oss":
		if strings.Contains(name, "object") {
			return []string{base + arbitrary + "/" + arbitrary, base + arbitrary}
		}
		return []string{base + arbitrary}
	case "log":
		return []string{base + "project/" + arbitrary + "/logstore/" + arbitrary, base + "project/" + arbitrary}
	case "ecs":
		return []string{base + "instance/i-" + arbitrary, base + "*/" + arbitrary}
	}
	return []string{base + arbitrary + "/" + arbitrary, base + arbitrary}
}

// pathByID returns the first of the paths with these ids.
func pathByID(ids []string) (Path, bool) {
	for _, id := range ids {
		if i := slices.IndexFunc(paths, func(p Path) bool { return p.ID == id }); i >= 0 {
			return paths[i], true
		}
	}
	return Path{}, false
}

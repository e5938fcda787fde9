package ramtest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// directory is a resource directory, kept with its management account.
type directory struct {
	root     string
	folders  map[string]string // folder → the folder it lies in
	members  map[string]string // account → folder
	policies map[string]*controlPolicy
}

type controlPolicy struct {
	id, name, document string
	targets            []string // sorted
}

// grouped is an attachment in a resource group.
type grouped struct{ ref, kind, name, group string }

// AddDirectory makes the resource directory of a management account, with a
// root folder whose id begins with "r-".
func (s *Server) AddDirectory(account, root string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.acct(account); a.dir == nil {
		a.dir = &directory{root: root, folders: map[string]string{}, members: map[string]string{}, policies: map[string]*controlPolicy{}}
	}
}

// AddFolder puts a folder into another one of an account's directory.
func (s *Server) AddFolder(account, id, parent string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acct(account).dir.folders[id] = parent
}

// AddMember puts a member account into a folder, from where its users find the
// directory too.
func (s *Server) AddMember(account, member, folder string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acct(account).dir.members[member] = folder
	s.acct(member).master = account
}

// AddControlPolicy makes a control policy that is attached to folders or
// accounts.
func (s *Server) AddControlPolicy(account, id, document string, targets ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(targets)
	s.acct(account).dir.policies[id] = &controlPolicy{id: id, name: id, document: document, targets: targets}
}

// AttachInGroup attaches a policy in a resource group alone. The calls of RAM
// do not show it, the ones of ResourceManager do.
func (s *Server) AttachInGroup(account, policyType, policyName, kind, name, group string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.acct(account)
	if a.policies[policyType+"/"+policyName] == nil || a.attached(kind, name) == nil {
		return fmt.Errorf("ramtest: account %s has no policy %s/%s or no %s %q", account, policyType, policyName, kind, name)
	}
	a.grouped = append(a.grouped, grouped{policyType + "/" + policyName, kind, name, group})
	return nil
}

func onDirectory(c *call) string { return "acs:resourcemanager:*:" + c.caller.account + ":*" }

// directory is the directory that the caller manages.
func (c *call) directory() (*directory, *apiError) {
	switch {
	case c.acct.dir != nil:
		return c.acct.dir, nil
	case c.acct.master != "":
		// What members are answered is not documented.
		return nil, errf(403, "NoPermission.ResourceDirectory.MasterAccount", "Only the management account may do this.")
	}
	return nil, errf(404, "EntityNotExists.ResourceDirectory", "The resource directory is not enabled.")
}

func getResourceDirectory(c *call) (map[string]any, *apiError) {
	master, d := c.acct.id, c.acct.dir
	if c.acct.master != "" {
		master = c.acct.master
		d = c.s.acct(master).dir
	}
	if d == nil {
		return nil, errf(404, "EntityNotExists.ResourceDirectory", "The resource directory is not enabled.")
	}
	return map[string]any{"ResourceDirectory": map[string]any{"ResourceDirectoryId": "rd-" + d.root, "MasterAccountId": master, "RootFolderId": d.root,
		"ControlPolicyStatus": "Enabled"}}, nil
}

// number cuts a list by PageNumber and PageSize.
func number[T any](c *call, all []T) (part []T, out map[string]any, e *apiError) {
	page, size := 1, 10
	for name, at := range map[string]*int{"PageNumber": &page, "PageSize": &size} {
		if v := c.params[name]; v != "" {
			n, err := strconv.Atoi(v)
			if err != nil || n < 1 || name == "PageSize" && n > 100 {
				return nil, nil, errf(400, "InvalidParameter."+name, "%s is out of range.", name)
			}
			*at = n
		}
	}
	from := min((page-1)*size, len(all))
	return all[from:min(from+size, len(all))], map[string]any{"TotalCount": len(all), "PageNumber": page, "PageSize": size}, nil
}

func (p *controlPolicy) view(document bool) map[string]any {
	out := map[string]any{"PolicyId": p.id, "PolicyName": p.name, "PolicyType": "Custom", "EffectScope": "RAM", "AttachmentCount": strconv.Itoa(len(p.targets))}
	if document {
		out["PolicyDocument"] = p.document
	}
	return out
}

func listControlPolicies(c *call) (map[string]any, *apiError) {
	d, e := c.directory()
	if e != nil {
		return nil, e
	}
	ids, out, e := number(c, slices.Sorted(maps.Keys(d.policies)))
	if e != nil {
		return nil, e
	}
	var items []any
	for _, id := range ids {
		items = append(items, d.policies[id].view(false))
	}
	maps.Copy(out, list("ControlPolicies", "ControlPolicy", items))
	return out, nil
}

func (c *call) controlPolicy() (*controlPolicy, *apiError) {
	d, e := c.directory()
	if e != nil {
		return nil, e
	}
	p := d.policies[c.params["PolicyId"]]
	if p == nil {
		return nil, errf(404, "EntityNotExists.ControlPolicy", "The control policy does not exist: %s.", c.params["PolicyId"])
	}
	return p, nil
}

func getControlPolicy(c *call) (map[string]any, *apiError) {
	p, e := c.controlPolicy()
	if e != nil {
		return nil, e
	}
	return map[string]any{"ControlPolicy": p.view(true)}, nil
}

func listTargetAttachments(c *call) (map[string]any, *apiError) {
	p, e := c.controlPolicy()
	if e != nil {
		return nil, e
	}
	targets, out, e := number(c, p.targets)
	if e != nil {
		return nil, e
	}
	var items []any
	for _, t := range targets {
		items = append(items, map[string]any{"TargetId": t, "TargetName": t})
	}
	maps.Copy(out, list("TargetAttachments", "TargetAttachment", items))
	return out, nil
}

// inside returns what lies in the folder that the call names.
func (c *call) inside(of func(*directory) map[string]string) ([]string, map[string]any, *apiError) {
	d, e := c.directory()
	if e != nil {
		return nil, nil, e
	}
	parent := cmp.Or(c.params["ParentFolderId"], d.root)
	if _, known := d.folders[parent]; !known && parent != d.root {
		return nil, nil, errf(404, "EntityNotExists.ParentFolder", "The folder does not exist: %s.", parent)
	}
	var ids []string
	for id, folder := range of(d) {
		if folder == parent {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return number(c, ids)
}

func listFoldersForParent(c *call) (map[string]any, *apiError) {
	ids, out, e := c.inside(func(d *directory) map[string]string { return d.folders })
	if e != nil {
		return nil, e
	}
	var items []any
	for _, id := range ids {
		items = append(items, map[string]any{"FolderId": id, "FolderName": id})
	}
	maps.Copy(out, list("Folders", "Folder", items))
	return out, nil
}

func listAccountsForParent(c *call) (map[string]any, *apiError) {
	ids, out, e := c.inside(func(d *directory) map[string]string { return d.members })
	if e != nil {
		return nil, e
	}
	var items []any
	for _, id := range ids {
		items = append(items, map[string]any{"AccountId": id, "FolderId": c.acct.dir.members[id]})
	}
	maps.Copy(out, list("Accounts", "Account", items))
	return out, nil
}

// listPolicyAttachments shows the attachments of the whole account and those in
// resource groups; those of the account have its id for a resource group.
func listPolicyAttachments(c *call) (map[string]any, *apiError) {
	var all []grouped
	add := func(kind, name string, refs []string) {
		for _, ref := range refs {
			all = append(all, grouped{ref, kind, name, c.acct.id})
		}
	}
	for _, u := range c.acct.users {
		add("user", u.name, u.policies)
	}
	for _, g := range c.acct.groups {
		add("group", g.name, g.policies)
	}
	for _, r := range c.acct.roles {
		add("role", r.name, r.policies)
	}
	all = append(all, c.acct.grouped...)
	lists.Sort(all, func(x, y grouped) int {
		return cmp.Or(cmp.Compare(x.kind, y.kind), cmp.Compare(x.name, y.name), cmp.Compare(x.ref, y.ref), cmp.Compare(x.group, y.group))
	})
	if g := c.params["ResourceGroupId"]; g != "" {
		all = lists.Keep(all, func(x *grouped) bool { return x.group == g })
	}
	part, out, e := number(c, all)
	if e != nil {
		return nil, e
	}
	alias := cmp.Or(c.acct.alias, c.acct.id)
	var items []any
	for _, x := range part {
		kind, name, _ := strings.Cut(x.ref, "/")
		principal := map[string][2]string{"user": {"IMSUser", "@"}, "group": {"IMSGroup", "@group."}, "role": {"ServiceRole", "@role."}}[x.kind]
		items = append(items, map[string]any{"PolicyType": kind, "PolicyName": name, "PrincipalType": principal[0],
			"PrincipalName": x.name + principal[1] + alias + ".onaliyun.com", "ResourceGroupId": x.group})
	}
	maps.Copy(out, list("PolicyAttachments", "PolicyAttachment", items))
	return out, nil
}

func getPasswordPolicy(c *call) (map[string]any, *apiError) {
	return map[string]any{"PasswordPolicy": map[string]any{"MinimumPasswordLength": c.acct.passwordLength, "MinimumPasswordDifferentCharacter": 0,
		"RequireLowercaseCharacters": true, "RequireUppercaseCharacters": true, "RequireNumbers": true, "RequireSymbols": true,
		"PasswordNotContainUserName": false, "HardExpire": false, "MaxPasswordAge": 90, "PasswordReusePrevention": 3, "MaxLoginAttemps": 5}}, nil
}

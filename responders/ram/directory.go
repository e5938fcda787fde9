package ram

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/resourcemanager"

	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// numbered calls f for every page of a list that is cut by page numbers. f
// returns how many entries it got and how many there are in all. whole is
// false when the list was refused or is longer than is read.
func (l *lister) numbered(ctx context.Context, action string, f func(w *worker, page, size requests.Integer) (n, total int, err error)) (whole bool, err error) {
	for seen, page := 0, 1; ; page++ {
		var n, total int
		ok, err := l.ask(ctx, op{product: "resourcemanager", action: action}, func(w *worker) (err error) {
			n, total, err = f(w, requests.NewInteger(page), requests.NewInteger(pageSize))
			return err
		})
		if err != nil || !ok {
			return false, err
		}
		if seen += n; n == 0 || seen >= total {
			return true, nil
		}
		if seen >= maxInventory {
			l.inv.Partial = true
			return false, nil
		}
	}
}

// scopes reads in which resource groups policies are attached, which the lists
// of RAM do not say. What these list for an account and is attached in groups
// alone is not counted for the account.
func (l *lister) scopes(ctx context.Context) error {
	type key struct {
		kind, name string // lower case
		policy     AttachedPolicy
	}
	everywhere := map[key]bool{}
	groups := map[key][]string{}
	whole, err := l.numbered(ctx, "ListPolicyAttachments", func(w *worker, page, size requests.Integer) (int, int, error) {
		r := resourcemanager.CreateListPolicyAttachmentsRequest()
		r.PageNumber, r.PageSize = page, size
		resp, err := w.dir.listPolicyAttachments(r)
		if err != nil {
			return 0, 0, err
		}
		list := resp.PolicyAttachments.PolicyAttachment
		for _, x := range list {
			kind := map[string]string{"IMSUser": "user", "IMSGroup": "group", "ServiceRole": "role"}[x.PrincipalType]
			name, _, _ := strings.Cut(x.PrincipalName, "@")
			k := key{kind, strings.ToLower(name), AttachedPolicy{System: x.PolicyType == "System", Name: x.PolicyName}}
			if g := x.ResourceGroupId; g == "" || g == l.inv.Account {
				everywhere[k] = true
			} else if !slices.Contains(groups[k], g) {
				groups[k] = append(groups[k], g)
			}
		}
		return len(list), resp.TotalCount, nil
	})
	if err != nil || !whole {
		return err
	}
	for i := range l.inv.Holders {
		h := &l.inv.Holders[i]
		at := func(p AttachedPolicy) key { return key{h.Kind, strings.ToLower(h.Name), p} }
		h.Attached = lists.Keep(h.Attached, func(p *AttachedPolicy) bool { return len(groups[at(*p)]) == 0 || everywhere[at(*p)] })
		var inGroups []AttachedPolicy
		for k, list := range groups {
			if k == at(k.policy) {
				for _, g := range list {
					inGroups = append(inGroups, AttachedPolicy{System: k.policy.System, Name: k.policy.Name, Group: g})
				}
			}
		}
		lists.Sort(inGroups, func(x, y AttachedPolicy) int {
			return strings.Compare(x.Name+"\x00"+x.Group+strconv.FormatBool(x.System), y.Name+"\x00"+y.Group+strconv.FormatBool(y.System))
		})
		for _, p := range inGroups {
			l.hold(p)
		}
		h.Attached = append(h.Attached, inGroups...)
	}
	l.inv.Scoped = true
	return nil
}

// settings reads the security preference and the password policy. They are
// read as they come: a setting that the answer does not have is not known, and
// not off.
func (l *lister) settings(ctx context.Context) error {
	out := map[string]string{}
	for _, action := range []string{"GetSecurityPreference", "GetPasswordPolicy"} {
		var body string
		if _, err := l.ask(ctx, op{product: "ims", action: action}, func(w *worker) (err error) {
			body, err = common(w, l.c.at["ims"], action, nil)
			return err
		}); err != nil {
			return err
		}
		var answer map[string]any
		if json.Unmarshal([]byte(body), &answer) == nil {
			delete(answer, "RequestId")
			flatten(out, "", answer)
		}
	}
	if len(out) > 0 {
		l.inv.Settings = out
	}
	return nil
}

// maxSettings bounds what is kept of an answer.
const maxSettings = 200

// flatten puts the values of an answer under the names that they have, without
// those of what they lie in.
func flatten(out map[string]string, name string, v any) {
	var text string
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			flatten(out, k, x)
		}
		return
	case []any:
		var parts []string
		for _, x := range v {
			if s, ok := x.(string); ok {
				parts = append(parts, s)
			}
		}
		slices.Sort(parts)
		text = strings.Join(parts, ",")
	case string:
		text = v
	case bool:
		text = strconv.FormatBool(v)
	case float64:
		text = strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return
	}
	if len(out) < maxSettings && len(text) <= 1024 {
		out[name] = text
	}
}

// directory reads the resource directory, if the account manages one. It is
// kept only whole: a guard rail that was not seen would seem not to be there.
func (l *lister) directory(ctx context.Context) error {
	var root, master string
	ok, err := l.ask(ctx, op{product: "resourcemanager", action: "GetResourceDirectory"}, func(w *worker) error {
		resp, err := w.dir.getResourceDirectory(resourcemanager.CreateGetResourceDirectoryRequest())
		root, master = resp.ResourceDirectory.RootFolderId, resp.ResourceDirectory.MasterAccountId
		return err
	})
	if err != nil || !ok || root == "" || master != l.inv.Account {
		return err
	}
	d := &Directory{Root: root, Parent: map[string]string{}}
	for _, f := range []func(context.Context, *Directory) (bool, error){l.tree, l.controlPolicies} {
		if whole, err := f(ctx, d); err != nil || !whole {
			return err
		}
	}
	l.inv.Directory = d
	return nil
}

// tree reads where folders and accounts lie.
func (l *lister) tree(ctx context.Context, d *Directory) (whole bool, err error) {
	folders := []string{d.Root}
	for n := 0; n < len(folders); n++ {
		parent := folders[n]
		if whole, err := l.numbered(ctx, "ListFoldersForParent", func(w *worker, page, size requests.Integer) (int, int, error) {
			r := resourcemanager.CreateListFoldersForParentRequest()
			r.ParentFolderId, r.PageNumber, r.PageSize = parent, page, size
			resp, err := w.dir.listFoldersForParent(r)
			if err != nil {
				return 0, 0, err
			}
			for _, f := range resp.Folders.Folder {
				if _, known := d.Parent[f.FolderId]; !known && f.FolderId != d.Root {
					d.Parent[f.FolderId] = parent
					folders = append(folders, f.FolderId)
				}
			}
			return len(resp.Folders.Folder), resp.TotalCount, nil
		}); err != nil || !whole {
			return false, err
		}
		if whole, err := l.numbered(ctx, "ListAccountsForParent", func(w *worker, page, size requests.Integer) (int, int, error) {
			r := resourcemanager.CreateListAccountsForParentRequest()
			r.ParentFolderId, r.PageNumber, r.PageSize = parent, page, size
			resp, err := w.dir.listAccountsForParent(r)
			if err != nil {
				return 0, 0, err
			}
			for _, a := range resp.Accounts.Account {
				d.Parent[a.AccountId] = parent
			}
			return len(resp.Accounts.Account), resp.TotalCount, nil
		}); err != nil || !whole {
			return false, err
		}
		if len(d.Parent) > maxInventory {
			l.inv.Partial = true
			return false, nil
		}
	}
	return true, nil
}

// controlPolicies reads the custom control policies. The vendor's own,
// FullAliyunAccess, is attached everywhere and refuses nothing.
func (l *lister) controlPolicies(ctx context.Context, d *Directory) (whole bool, err error) {
	if whole, err := l.numbered(ctx, "ListControlPolicies", func(w *worker, page, size requests.Integer) (int, int, error) {
		r := resourcemanager.CreateListControlPoliciesRequest()
		r.PolicyType, r.PageNumber, r.PageSize = "Custom", page, size
		resp, err := w.dir.listControlPolicies(r)
		if err != nil {
			return 0, 0, err
		}
		for _, p := range resp.ControlPolicies.ControlPolicy {
			d.Policies = append(d.Policies, ControlPolicy{ID: p.PolicyId})
		}
		return len(resp.ControlPolicies.ControlPolicy), resp.TotalCount, nil
	}); err != nil || !whole {
		return false, err
	}
	for i := range d.Policies {
		p := &d.Policies[i]
		if _, err := l.ask(ctx, op{product: "resourcemanager", action: "GetControlPolicy"}, func(w *worker) error {
			r := resourcemanager.CreateGetControlPolicyRequest()
			r.PolicyId = p.ID
			resp, err := w.dir.getControlPolicy(r)
			p.Text = resp.ControlPolicy.PolicyDocument
			return err
		}); err != nil {
			return false, err
		}
		if whole, err := l.numbered(ctx, "ListTargetAttachmentsForControlPolicy", func(w *worker, page, size requests.Integer) (int, int, error) {
			r := resourcemanager.CreateListTargetAttachmentsForControlPolicyRequest()
			r.PolicyId, r.PageNumber, r.PageSize = p.ID, page, size
			resp, err := w.dir.listTargetAttachmentsForControlPolicy(r)
			if err != nil {
				return 0, 0, err
			}
			for _, t := range resp.TargetAttachments.TargetAttachment {
				p.Targets = append(p.Targets, t.TargetId)
			}
			return len(resp.TargetAttachments.TargetAttachment), resp.TotalCount, nil
		}); err != nil || !whole {
			return false, err
		}
	}
	return true, nil
}

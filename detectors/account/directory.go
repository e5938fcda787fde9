package account

import (
	"strings"

	"github.com/trailwarden/trailwarden/detectors/rampolicy"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// A target is a folder or account of the resource directory. Its entry holds
// the control policies that are attached to it, and as its only link the
// folder it lies in. It is complete when that folder is known.

const maxFolders = 12 // the directory takes five levels

// rootFolder begins the id of a directory's root folder, and stands for it
// where its id was not seen.
const rootFolder = "r-"

// guards collects the control policies that hold for a target, its own but for
// one, and those of the folders above. known says that the way up was seen to the root
// and the text of every policy.
func (c *call) guards(target, but string) (docs []*rampolicy.Document, known bool) {
	known = true
	for range maxFolders {
		e := c.j.get(kindTarget, c.account, target)
		if e == nil {
			// The root folder is the end of the way.
			return docs, known && strings.HasPrefix(target, rootFolder)
		}
		for _, a := range e.attached {
			if a.name == strings.ToLower(but) && but != "" {
				continue
			}
			var d *rampolicy.Document
			if p := c.j.get(kindControl, c.account, a.name); p != nil {
				d = c.parse(p.text(""), "control policy "+window.Show(a.shown))
			}
			if d == nil {
				known = false
				c.note("the text of control policy " + window.Show(a.shown) + " is not known")
				continue
			}
			docs = append(docs, d)
		}
		if len(e.links) == 0 {
			return docs, known && strings.HasPrefix(target, rootFolder)
		}
		target, but = e.links[0], ""
	}
	return docs, false
}

func (c *call) moveAccount() {
	account, folder := c.param("AccountId"), c.param("DestinationFolderId", "FolderId")
	shown := window.Show(account)
	var from string
	if e := c.j.get(kindTarget, c.account, account); e != nil && len(e.links) > 0 {
		from = e.links[0]
	}
	switch {
	case strings.HasPrefix(from, rootFolder) && !strings.HasPrefix(folder, rootFolder):
		// All folders lie below it: what holds there goes on to hold.
		c.diff(nil, nil, rampolicy.Options{Kind: rampolicy.Control})
		c.say("account "+shown+" was moved from the root folder to "+window.Show(folder)+", where its guard rails hold as well",
			"账号 "+shown+" 从根资源夹移至 "+window.Show(folder)+"，根资源夹的管控策略仍然生效")
	case from == "":
		c.unknown("account "+shown+" was moved to folder "+window.Show(folder)+"; where it was before was not seen, so it may have left guard rails behind",
			"账号 "+shown+" 已移至资源夹 "+window.Show(folder)+"；未见过此前位置，可能已脱离管控策略")
	default:
		before, known := c.guards(from, "")
		after, known2 := c.guards(folder, "")
		c.diff(rampolicy.Merge(before...), rampolicy.Merge(after...), rampolicy.Options{Kind: rampolicy.Control})
		lost := denyRemoved(rampolicy.Merge(before...), rampolicy.Merge(after...))
		c.say("account "+shown+" was moved from folder "+window.Show(from)+" to "+window.Show(folder), "账号 "+shown+" 从资源夹 "+window.Show(from)+" 移至 "+window.Show(folder))
		switch {
		case lost:
			c.facts.DenyRemoved = true
			c.facts.Severity = rampolicy.Critical.String()
			refused := denies(rampolicy.Merge(before...))
			c.more(" and left guard rails behind: "+refused.en, "，脱离了原有管控策略："+refused.zh)
			c.facts.Summary = "guard rails no longer hold for an account"
		case !known || !known2:
			// What is known of the new place covers what is known of the
			// old one; the rest may not.
			c.unknown(c.facts.Sentence+"; not all guard rails of both places are known", c.facts.SentenceZH+"；两处的管控策略未能全部得知")
		case layered(before) || layered(after):
			c.unknown(c.facts.Sentence+"; "+allowLists, c.facts.SentenceZH+"；"+allowListsZH)
		case c.facts.Expands:
			// Only where an Allow of a control policy binds.
			c.facts.Summary = "an allow list may no longer hold for an account"
			c.more(" and may have left an allow list behind; "+allowLists, "，可能脱离了允许列表；"+allowListsZH)
		default:
			c.more("; the same guard rails hold there", "；管控策略不变")
		}
	}
	c.apply(kindTarget, account, func(e *entry) { e.complete, e.links = true, []string{strings.Clone(folder)} })
}

// removeAccount judges that an account leaves the directory, with whose control
// policies nothing is held back any more.
func (c *call) removeAccount() {
	account := c.param("AccountId")
	shown := window.Show(account)
	before, known := c.guards(account, "")
	all := rampolicy.Merge(before...)
	switch {
	case denyRemoved(all, nil):
		c.diff(all, nil, rampolicy.Options{Kind: rampolicy.Control})
		c.facts.DenyRemoved = true
		c.facts.Severity = rampolicy.Critical.String()
		refused := denies(all)
		c.say("account "+shown+" left the directory and its guard rails: "+refused.en, "账号 "+shown+" 脱离了资源目录及其管控策略："+refused.zh)
		c.facts.Summary = "guard rails no longer hold for an account"
	case !known:
		c.unknown("account "+shown+" left the directory; which guard rails held for it is not known in full", "账号 "+shown+" 脱离了资源目录；原有管控策略未能全部得知")
	default:
		c.diff(all, nil, rampolicy.Options{Kind: rampolicy.Control})
		c.say("account "+shown+" left the directory; no Deny held for it there", "账号 "+shown+" 脱离了资源目录；原先没有对其生效的 Deny")
	}
	if c.done {
		c.j.forget(kindTarget, c.account, account, c.ev.Time)
	}
}

// createFolder and createAccount learn where things lie.
func (c *call) placed() {
	parent := c.param("ParentFolderId")
	id, _ := c.ev.Response("Folder.FolderId")
	if id == "" {
		if id, _ = c.ev.Response("Account.AccountId"); parent == "" {
			parent = rootFolder // where new accounts lie when nothing else is said
		}
	}
	if parent != "" && id != "" && len(id) <= maxName {
		c.apply(kindTarget, id, func(e *entry) { e.complete, e.links = true, []string{parent} })
	}
}

const allowLists = "whether an Allow in a control policy binds, and how several of them combine, is not documented"

const allowListsZH = "管控策略中的 Allow 是否生效、多条如何叠加，官方文档未说明"

// layered says whether several control policies have Allow statements: merging
// them may be wider than what they leave together.
func layered(docs []*rampolicy.Document) bool {
	n := 0
	for _, d := range docs {
		n += bit(d != nil && d.HasAllow())
	}
	return n > 1
}

// attachControl notes that a control policy holds for a target.
func (c *call) attachControl(policy, target string, on bool) {
	if policy == "" || target == "" {
		return
	}
	a := attachment{name: strings.ToLower(policy), shown: policy}
	c.apply(kindTarget, target, func(e *entry) {
		if on {
			e.attach(a)
		} else {
			e.detach(a)
		}
	})
}

// detachedControl judges that a policy no longer holds for a target: what
// others still refuse there is still refused.
func (c *call) detachedControl(id, target string, doc *rampolicy.Document) {
	rest, _ := c.guards(target, id)
	after := rampolicy.Merge(rest...)
	c.diff(rampolicy.Merge(append(rest, doc)...), after, rampolicy.Options{Kind: rampolicy.Control})
	c.facts.DenyRemoved = denyRemoved(doc, after)
	switch {
	case c.facts.DenyRemoved:
		c.noLonger(id, doc)
		c.facts.Summary = "a guard rail is gone"
	case !c.facts.Expands && layered(append(rest, doc)):
		c.unknown("control policy "+window.Show(id)+" no longer holds; "+allowLists, "管控策略 "+window.Show(id)+" 不再生效；"+allowListsZH)
	}
}

func (c *call) noLonger(id string, doc *rampolicy.Document) {
	refused := denies(doc)
	c.say("control policy "+window.Show(id)+" no longer holds: "+refused.en, "管控策略 "+window.Show(id)+" 不再生效："+refused.zh)
}

// deleteControl judges that a policy is gone: the service deletes only what is
// attached to nothing, but what was attached unseen is not known.
func (c *call) deleteControl(id string, doc *rampolicy.Document) {
	c.diff(doc, nil, rampolicy.Options{Kind: rampolicy.Control})
	c.facts.DenyRemoved = doc.HasDeny()
	if c.facts.DenyRemoved {
		c.noLonger(id, doc)
		c.facts.Summary = "a guard rail is gone"
	}
	if c.done && c.ev.Action == event.ActOrgControlPolicyDelete {
		c.j.forget(kindControl, c.account, id, c.ev.Time)
	}
}

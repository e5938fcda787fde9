(()=>{const d=document,all=(s,e=d)=>[...e.querySelectorAll(s)],bar=d.getElementById('tools'),say=d.body.dataset;
if(bar){bar.hidden=false;const box=bar.querySelector('[type=search]'),n=d.getElementById('shown'),list=d.getElementById('list');
const run=()=>{const t=box.value.toLowerCase(),on=new Set(all(':checked',bar).map(c=>c.value));let k=0;
for(const e of all('[data-s]')){const ok=on.has(e.dataset.s)&&(!t||e.textContent.toLowerCase().includes(t));e.hidden=!ok;k+=ok}
n.textContent=n.dataset.t.replace('%s',k)};
bar.addEventListener('input',run);run();
bar.querySelector('select').addEventListener('change',ev=>{const w=ev.target.value==='s';
all('details',list).filter(e=>e.parentNode===list).sort((a,b)=>(w?b.dataset.s-a.dataset.s:0)||a.dataset.t-b.dataset.t).forEach(e=>list.append(e))})}
for(const th of all('table.sort th')){th.tabIndex=0;th.addEventListener('click',()=>{const i=th.cellIndex,b=th.closest('table').tBodies[0],
up=th.getAttribute('aria-sort')==='ascending';all('th',th.parentNode).forEach(x=>x.removeAttribute('aria-sort'));
th.setAttribute('aria-sort',up?'descending':'ascending');const v=r=>r.cells[i].dataset.v||r.cells[i].textContent;
b.append(...[...b.rows].sort((x,y)=>v(x).localeCompare(v(y),'en',{numeric:true})*(up?-1:1)))});
th.addEventListener('keydown',e=>{if(e.key==='Enter')th.click()})}
for(const p of all('pre.cmd')){const b=d.createElement('button');b.type='button';b.textContent=say.copy;
b.addEventListener('click',()=>{const done=()=>b.textContent=say.copied,s=p.textContent;
navigator.clipboard?navigator.clipboard.writeText(s).then(done):(getSelection().selectAllChildren(p),done())});p.before(b)}
addEventListener('beforeprint',()=>all('details').forEach(e=>e.open=true))})()

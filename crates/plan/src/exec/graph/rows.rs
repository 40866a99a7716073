//! Partial matches, column by column.

/// Lists of numbers, one a row.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    ends: Vec<u32>,
    values: Vec<u32>,
}

impl Lists {
    /// Every row's numbers behind each other.
    pub fn values(&self) -> &[u32] {
        &self.values
    }

    pub fn row(&self, row: usize) -> &[u32] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        &self.values[start..self.ends[row] as usize]
    }

    pub fn push(&mut self, items: impl IntoIterator<Item = u32>) {
        self.values.extend(items);
        self.ends.push(self.values.len() as u32);
    }

    fn gather(&self, rows: &[u32]) -> Lists {
        let mut gathered = Lists { ends: Vec::with_capacity(rows.len()), values: Vec::new() };
        for row in rows {
            gathered.values.extend_from_slice(self.row(*row as usize));
            gathered.ends.push(gathered.values.len() as u32);
        }
        gathered
    }
}

/// Partial matches: what is not bound yet has no values.
#[derive(Clone, Debug, Default)]
pub struct Matches {
    pub rows: usize,
    /// By node of the pattern.
    pub nodes: Vec<Vec<u32>>,
    /// By edge of the pattern: those of one hop.
    pub edges: Vec<Vec<u32>>,
    /// By edge of the pattern: the hops of those of variable length, from left to right.
    pub paths: Vec<Lists>,
    /// The nodes or edges that must not come again.
    pub trail: Lists,
}

impl Matches {
    pub fn new(nodes: usize, edges: usize) -> Matches {
        Matches {
            rows: 0,
            nodes: vec![Vec::new(); nodes],
            edges: vec![Vec::new(); edges],
            paths: vec![Lists::default(); edges],
            trail: Lists::default(),
        }
    }

    /// These rows.
    pub fn gather(&self, rows: &[u32]) -> Matches {
        let pick = |values: &Vec<u32>| match values.is_empty() {
            true => Vec::new(),
            false => rows.iter().map(|row| values[*row as usize]).collect(),
        };
        let lists = |lists: &Lists| if lists.ends.is_empty() { Lists::default() } else { lists.gather(rows) };
        Matches {
            rows: rows.len(),
            nodes: self.nodes.iter().map(pick).collect(),
            edges: self.edges.iter().map(pick).collect(),
            paths: self.paths.iter().map(lists).collect(),
            trail: lists(&self.trail),
        }
    }

    /// These rows, each with more numbers behind its trail.
    pub fn extended(&self, rows: &[u32], more: &Lists) -> Matches {
        let mut gathered = self.gather(rows);
        let mut trail = Lists::default();
        for row in 0..rows.len() {
            let old = if gathered.trail.ends.is_empty() { &[][..] } else { gathered.trail.row(row) };
            trail.push(old.iter().chain(more.row(row)).copied());
        }
        gathered.trail = trail;
        gathered
    }

    /// What must not come again in a row.
    pub fn trail(&self, row: usize) -> &[u32] {
        if self.trail.ends.is_empty() { &[] } else { self.trail.row(row) }
    }

    /// Bytes that the rows take.
    pub fn bytes(&self) -> usize {
        let flat = self.nodes.iter().chain(&self.edges).map(Vec::len).sum::<usize>();
        let lists = self.paths.iter().chain([&self.trail]).map(|lists| lists.ends.len() + lists.values.len());
        4 * (flat + lists.sum::<usize>())
    }
}

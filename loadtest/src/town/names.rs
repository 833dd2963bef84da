//! Invented names. Any likeness to a real street or restaurant is chance.

/// Streets and roads, before their suffix.
pub(super) const STREETS: [&str; 28] = [
    "Larch", "Quill", "Harrow", "Lantern", "Thistle", "Copper", "Saddler", "Orchard", "Juniper", "Cobble", "Heron",
    "Tanner", "Willow", "Bramble", "Chandler", "Sparrow", "Mill", "Weaver", "Hazel", "Ferry", "Cooper", "Linden",
    "Magpie", "Potter", "Rowan", "Salt", "Tinker", "Violet",
];

/// Suffixes of side streets.
pub(super) const SUFFIXES: [&str; 4] = ["Street", "Lane", "Row", "Way"];

/// Suffix of main roads.
pub(super) const MAIN_SUFFIX: &str = "Avenue";

/// The two bridges.
pub(super) const BRIDGES: [&str; 2] = ["Old Bridge", "Millers' Bridge"];

/// Restaurants.
pub(super) const STORES: [&str; 10] = [
    "Trattoria da Rosa",
    "Blue Lantern Noodles",
    "The Copper Pot",
    "Casa Marisol",
    "Green Bowl",
    "Taverna Ilios",
    "Spice Courtyard",
    "Dumpling & Daughters",
    "Pellerin's Bakery",
    "Smokehouse Nine",
];

/// The town.
pub(super) const TOWNS: [&str; 4] = ["Marenfurt", "Oldwick Quay", "Tarnholm", "Velmora"];
